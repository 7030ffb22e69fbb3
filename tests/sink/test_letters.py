"""Dead letters of the sink."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from pipeline.errors import BrokenSequenceError, RecordTooLargeError
from pipeline.kafka.records import OutRecord, text_header

Virtual = Callable[[Any], Any]


def test_too_large_for_the_topic(virtual: Virtual, rig: Any, make: Any) -> None:
    """A record that the dead-letter topic cannot hold leaves a letter that says where it lies, and the flow goes on."""
    send = rig.producer.send

    async def small_topic(topic: str, record: OutRecord) -> tuple[int, int]:
        if len(record.value or b"") > 1000:
            raise RecordTooLargeError("too large")
        return await send(topic, record)  # type: ignore[no-any-return]

    rig.producer.send = small_topic

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
    rig.api.script = [rig.api.refuse(0)]

    async def scenario() -> None:
        async with rig:
            await rig.take(make.record("ann", 0), make.record("ann", 1))
            await asyncio.sleep(10)

    virtual(scenario())
    assert [type(error) for error in rig.crashes] == [BrokenSequenceError]
    assert rig.acked == {0: []}
