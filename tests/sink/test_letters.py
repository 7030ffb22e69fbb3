"""Dead letters of the sink."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from pipeline.deadletters.logged import LOGGED
from pipeline.errors import BrokenSequenceError
from pipeline.kafka.fetched import UnreadableRecord
from pipeline.kafka.records import OutRecord, text_header
from pipeline.kafka.worker.handover import GRACE_S
from pipeline.sink.events import OperationsAccepted, RecordDeadLettered
from tests.sink.conftest import consumed

Virtual = Callable[[Any], Any]

ROUND_TRIP_S = 0.006
"""Of a produce request with `acks=all` to a broker beside us: 160 a second, one after the other."""


def test_too_large_for_the_topic(virtual: Virtual, rig: Any, make: Any) -> None:
    """A record that the dead-letter topic cannot hold leaves a letter that says where it lies, and the flow goes on."""
    rig.producer.limit_bytes = 1000

    async def scenario() -> None:
        async with rig:
            await rig.take(make.raw(0, b"x" * 50_000), make.record("ann", 1))
            await rig.settled()

    virtual(scenario())
    (letter,) = rig.producer.letters
    assert letter.value is None
    assert letter.key == b"ann"
    assert text_header(letter.headers, "dlq-source") == "customerio.operations/0/0"
    assert text_header(letter.headers, "dlq-class") == "oversize"
    assert rig.acked[0][-1] == 1


def test_a_broken_producer_ends_the_process(virtual: Virtual, rig: Any, make: Any) -> None:
    """When dead letters can never be written again the worker crashes, with nothing acknowledged that was not kept."""

    async def broken(_topic: str, _record: OutRecord) -> tuple[int, int]:
        raise BrokenSequenceError("broken")

    rig.producer.send = broken
    rig.may_crash = True
    rig.api.script = [rig.api.refuse(0)]

    async def scenario() -> None:
        async with rig:
            await rig.take(make.record("ann", 0), make.record("ann", 1))
            await asyncio.sleep(10)

    virtual(scenario())
    assert [type(error) for error in rig.crashes] == [BrokenSequenceError]
    assert rig.acked == {0: []}


def test_what_could_not_be_read(virtual: Virtual, rig: Any, make: Any) -> None:
    """A record that reading found at fault, and a whole batch, are dead letters; those around them are delivered."""
    good = [make.record("ann", offset) for offset in (0, 2, 6)]
    value = make.record("ann", 1).value
    odd = UnreadableRecord("customerio.operations", 0, 1, 1, 0, b"ann", value, (("barrier", b"1"),), "a header's name")
    batch = UnreadableRecord("customerio.operations", 0, 3, -1, 0, None, b"\0\1", (), "codec 6", 5)

    async def scenario() -> None:
        async with rig:
            await rig.take(good[0], odd, good[1], batch, good[2])
            await rig.settled()

    virtual(scenario())
    assert rig.api.accepted == [("ann", 0), ("ann", 2), ("ann", 6)]
    assert sorted(rig.producer.told) == [
        ("customerio.operations/0/1", "unreadable", "a header's name"),
        ("customerio.operations/0/3", "unreadable", "codec 6"),
    ]
    assert {letter.value for letter in rig.producer.letters} == {value, b"\0\1"}
    assert rig.acked[0][-1] == 6


def test_a_record_without_a_time(virtual: Virtual, rig: Any, make: Any) -> None:
    """Nobody knows how old it is: its age is none, instead of that of the year 1970."""
    ages = [replace(make.record("ann", number), timestamp=at_ms) for number, at_ms in enumerate((-1, 2**63 - 1))]

    async def scenario() -> None:
        async with rig:
            for record in ages:
                await rig.take(record)
                await rig.settled()

    virtual(scenario())
    assert [event.oldest_age_s for event in rig.events if isinstance(event, OperationsAccepted)] == [None, None]


def refusing_all(rig: Any) -> None:
    """Let Customer.io refuse every operation that it is sent."""

    def reply(operations: list[dict[str, Any]], body: bytes) -> httpx.Response:
        answer: httpx.Response = rig.api.refuse(*range(len(operations)))(operations, body)
        return answer

    rig.api.last = reply


def sources(rig: Any) -> list[str]:
    """The places that the letters name, in the order in which they were written."""
    return [source for source, _, _ in rig.producer.told]


def test_a_refusal_of_thousands_is_one_chunk(virtual: Virtual, rig: Any, make: Any) -> None:
    """Operations that are refused together are written down together, in their order, with a line of log each for the
    first of them only."""  # noqa: D205, D209 - one promise
    refusing_all(rig)

    async def scenario() -> None:
        async with rig:
            await rig.take(*(make.record(f"p{n % 7}", n) for n in range(2_000)))
            await rig.settled()

    with capture_logs() as lines:
        virtual(scenario())
    assert rig.producer.chunks == [2_000]
    assert sources(rig) == [f"customerio.operations/0/{n}" for n in range(2_000)]
    assert len(rig.of(RecordDeadLettered)) == 2_000
    assert rig.acked[0][-1] == 1_999
    assert sum(line["event"] == "dead letter" for line in lines) == LOGGED
    (rest,) = (line for line in lines if line["event"] == "more dead letters at once")
    assert (rest["records"], rest["through"]) == (2_000 - LOGGED, "customerio.operations/0/1999")


def test_a_mass_refusal_ends_within_the_grace(virtual: Virtual, rig: Any, make: Any) -> None:
    """A hand-over that begins with thousands of refusals unwritten ends long before the grace does, with all of them
    acknowledged: a broker answers after milliseconds, and is not asked once for each letter."""  # noqa: D205, D209
    refusing_all(rig)
    writing = asyncio.Lock()  # a partition's letters are written one send after the other
    keep = rig.producer.send

    async def send(topic: str, record: OutRecord) -> tuple[int, int]:
        async with writing:
            await asyncio.sleep(ROUND_TRIP_S)
            return await keep(topic, record)  # type: ignore[no-any-return]

    async def send_together(chunk: Any) -> None:
        async with writing:
            await asyncio.sleep(ROUND_TRIP_S)
            for topic, record in chunk.records:
                await keep(topic, record)

    rig.producer.send = send
    make_chunk = rig.producer.chunk

    def chunk() -> Any:
        made = make_chunk()
        made.send = lambda: send_together(made)
        return made

    rig.producer.chunk = chunk

    async def scenario() -> float:
        async with rig:
            await rig.take(*(make.record("ann", n) for n in range(2_000)))
            while not rig.api.requests:  # noqa: ASYNC110 - virtual time costs nothing
                await asyncio.sleep(0.001)
            rig.sink.handover.begin()
            began = asyncio.get_running_loop().time()
            await rig.sink.handover.drained()
            return asyncio.get_running_loop().time() - began

    assert virtual(scenario()) < GRACE_S / 2
    assert rig.acked[0][-1] == 1_999


def test_records_that_are_no_operations_are_one_chunk(virtual: Virtual, rig: Any, make: Any) -> None:
    """Unusable records that wait together are written together, in order, a too large one in its place."""
    rig.producer.limit_bytes = 1_000
    values = [b"{" * (50_000 if n == 20 else 1) for n in range(40)]

    async def scenario() -> None:
        async with rig:
            await rig.take(*(make.raw(n, value) for n, value in enumerate(values)))
            await rig.settled()

    virtual(scenario())
    assert rig.producer.chunks == [40]
    assert sources(rig) == [f"customerio.operations/0/{n}" for n in range(40)]
    assert [n for n, letter in enumerate(rig.producer.letters) if letter.value is None] == [20]


@pytest.mark.parametrize(
    ("key", "value", "headers"),
    [(b"ann", b"x" * 1_000_000, ()), (b"ann", b"x", (("x", b"x" * 1_000_000),)), (b"x" * 1_000_000, b"x", ())],
    ids=["value", "headers", "key"],
)
def test_large_records_are_not_copied_all_at_once(
    virtual: Virtual, rig: Any, key: bytes, value: bytes, headers: Any
) -> None:
    """Other producers' records of a megabyte leave in chunks of a few, one durable before the next."""

    async def scenario() -> None:
        async with rig:
            await rig.take(*(consumed(n, key, value, headers) for n in range(20)))
            await rig.settled()

    virtual(scenario())
    assert max(rig.producer.chunks) == 5
    assert sources(rig) == [f"customerio.operations/0/{n}" for n in range(20)]


@pytest.mark.parametrize("written", [0, 1, 1_234])
def test_a_chunk_that_is_half_written_acknowledges_nothing(virtual: Virtual, rig: Any, make: Any, written: int) -> None:
    """When some letters of an answer are durable and one is not, none of its operations counts as done."""
    refusing_all(rig)
    send = rig.producer.send

    async def breaking(topic: str, record: OutRecord) -> tuple[int, int]:
        if len(rig.producer.letters) == written:
            raise BrokenSequenceError("broken")
        return await send(topic, record)  # type: ignore[no-any-return]

    rig.producer.send = breaking
    rig.may_crash = True

    async def scenario() -> None:
        async with rig:
            await rig.take(*(make.record("ann", n) for n in range(2_000)))
            await asyncio.sleep(60)

    virtual(scenario())
    assert len(rig.producer.letters) == written
    assert rig.acked == {0: []}
    assert rig.of(RecordDeadLettered) == []
    assert [type(error) for error in rig.crashes] == [BrokenSequenceError]
