"""Dead letters of the sink."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from pipeline.errors import BrokenSequenceError, RecordTooLargeError
from pipeline.kafka.fetched import UnreadableRecord
from pipeline.kafka.records import OutRecord, text_header
from pipeline.sink.events import OperationsAccepted

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
