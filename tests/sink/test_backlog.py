"""When a lane waits for more, and what ends the wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from pipeline.customerio.limits import BODY_MAX_BYTES
from pipeline.kafka.worker.batches import RecordBatch
from pipeline.sink.backlog import BACKLOG_RECORDS, FILL_S
from pipeline.sink.events import BatchClosed

Virtual = Callable[[Any], Any]

FAR: Any = BACKLOG_RECORDS
PAD = "x" * 20_000


def chunk(make: Any, offsets: range, behind: int, *, partition: int = 0, pad: str = "") -> RecordBatch:
    """Operations of one person in a partition that has `behind` more."""
    records = [make.record("ann", offset, partition=partition, pad=pad) for offset in offsets]
    return RecordBatch.of("operations", partition, records, 1, behind=behind)


def test_near_the_end_nothing_is_waited_for(virtual: Virtual, rig: Any, make: Any) -> None:
    """A partition with a few records more does not keep a free lane from sending what it has."""

    async def scenario() -> None:
        async with rig:
            await asyncio.sleep(1)  # the first turn under a new share
            began = asyncio.get_running_loop().time()
            await rig.sink.take(chunk(make, range(3), FAR - 1))
            await rig.settled()
            assert rig.api.requests[0][0] - began < FILL_S / 2

    virtual(scenario())


def test_far_behind_a_batch_fills(virtual: Virtual, rig: Any, make: Any) -> None:
    """With a backlog a lane waits for a full batch, and sends it as soon as it is full."""

    async def scenario() -> None:
        async with rig:
            await asyncio.sleep(1)
            began = asyncio.get_running_loop().time()
            for first in range(0, 30, 5):
                await rig.sink.take(chunk(make, range(first, first + 5), FAR, pad=PAD))
                await asyncio.sleep(FILL_S / 20)
            await rig.settled()
            assert rig.api.requests[0][0] - began < FILL_S

    virtual(scenario())
    first, second = rig.of(BatchClosed)
    assert (first.cause, second.operations) == ("bytes", 30 - first.operations)
    assert first.body_bytes > 0.95 * BODY_MAX_BYTES


def test_the_wait_has_an_end(virtual: Virtual, rig: Any, make: Any) -> None:
    """What does not fill goes after a moment, however much is behind."""

    async def scenario() -> None:
        async with rig:
            await asyncio.sleep(1)
            began = asyncio.get_running_loop().time()
            await rig.sink.take(chunk(make, range(3), FAR))
            await rig.settled()
            assert FILL_S <= rig.api.requests[0][0] - began < 2 * FILL_S

    virtual(scenario())
    assert rig.api.batches == [[0, 1, 2]]


def test_the_end_of_the_backlog_ends_the_wait(virtual: Virtual, rig: Any, make: Any) -> None:
    """Only when every partition is near its end the lanes send what they have, and then at once."""

    async def scenario() -> None:
        async with rig:
            await asyncio.sleep(1)
            began = asyncio.get_running_loop().time()
            await rig.sink.take(chunk(make, range(2), FAR))
            await rig.sink.take(chunk(make, range(2), FAR, partition=1))
            await rig.sink.take(chunk(make, range(2, 3), 0))
            await asyncio.sleep(FILL_S / 10)
            assert not rig.api.requests
            await rig.sink.take(chunk(make, range(2, 3), 0, partition=1))
            await rig.settled()
            assert rig.api.requests[0][0] - began < FILL_S / 2

    virtual(scenario())
    assert len(rig.api.batches) == 1


def test_full_memory_ends_the_wait(virtual: Virtual, make: Any, api: Any) -> None:
    """When nothing more comes in before something has left, nobody waits for it."""
    rig = make.rig(api, memory_bytes=50_000)

    async def scenario() -> None:
        async with rig:
            await asyncio.sleep(1)
            began = asyncio.get_running_loop().time()
            await rig.sink.take(chunk(make, range(4), FAR, pad=PAD))
            assert asyncio.get_running_loop().time() - began < FILL_S / 2

    virtual(scenario())
    assert api.batches[0] == [0, 1]


def test_a_hand_over_ends_the_wait(virtual: Virtual, rig: Any, make: Any) -> None:
    """A hand-over finds nothing that waits only to be full."""

    async def scenario() -> None:
        async with rig:
            await asyncio.sleep(1)
            began = asyncio.get_running_loop().time()
            await rig.sink.take(chunk(make, range(3), FAR))
            await asyncio.sleep(FILL_S / 10)
            rig.sink.handover.begin()
            await rig.sink.handover.drained()
            assert asyncio.get_running_loop().time() - began < FILL_S / 2
            assert rig.sink.memory.taken_bytes == 0

    virtual(scenario())
    assert not rig.api.requests
