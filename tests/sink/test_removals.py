"""Which operations are about somebody who is removed further on."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from aiokafka.structs import TopicPartition

from pipeline.customerio.limits import ITEM_MAX_BYTES
from pipeline.customerio.operations import event, identify, merge, removal
from pipeline.kafka.fetched import FetchedRecord, UnreadableRecord
from pipeline.settings import Settings
from pipeline.sink.removals import CLOCKS_MS, LookAhead, Removal, Removals, removes

AT_S = 1_790_000_000
AT_MS = AT_S * 1000


def record(
    value: bytes | None, *, key: bytes | None = b"cus_1", offset: int = 5, partition: int = 0, at_ms: int = AT_MS
) -> FetchedRecord:
    """An operation of cus_1."""
    return FetchedRecord("operations", partition, offset, at_ms, 0, key, value, ())


IDENTIFY = identify("cus_1", {"email": "a@example.com"}, timestamp_s=AT_S)
EVENT = event("cus_1", "delete", id="0" * 26, timestamp_s=AT_S, attributes={"what": "suppress"})


def test_what_lies_before_a_removal() -> None:
    """Of the same person in the same partition, and dated as it would be in this topic."""
    removals = Removals()
    nothing = removals.any
    removals.restart([0, 1])
    removals.learn({0: {b"cus_1": Removal(10, AT_MS)}, 1: {}})
    assert (nothing, removals.any) == (False, True)
    assert removals.cover(record(IDENTIFY))
    assert removals.cover(record(EVENT, at_ms=AT_MS + CLOCKS_MS))
    assert not removals.cover(record(IDENTIFY, offset=10))
    assert not removals.cover(record(IDENTIFY, offset=11))
    assert not removals.cover(record(IDENTIFY, partition=1))
    assert not removals.cover(record(IDENTIFY, key=b"cus_2"))
    assert not removals.cover(record(IDENTIFY, key=None))
    assert not removals.cover(record(IDENTIFY, at_ms=AT_MS + CLOCKS_MS + 1))  # a topic that was made anew
    assert not removals.cover(record(removal("cus_1", "delete")))  # an earlier request is carried out again
    assert not removals.cover(record(merge("cus_1", "cus_0")))  # who is merged into them goes with them
    removals.restart([0, 1])
    assert not removals.cover(record(IDENTIFY))


def test_what_was_not_read_yet() -> None:
    """A partition counts as unread from the begin of its assignment until it was read, whatever was found there."""
    removals = Removals()
    assert not removals.is_unread(0)  # nobody looks ahead
    removals.restart([0, 1])
    removals.learn({0: {}})
    assert [removals.is_unread(partition) for partition in (0, 1, 2)] == [False, True, False]
    removals.learn({1: {b"cus_1": Removal(10, AT_MS)}})
    assert not removals.is_unread(1)
    removals.restart([1])
    assert removals.is_unread(1)


@pytest.mark.parametrize(
    ("value", "is_removal"),
    [
        (removal("cus_1", "delete"), True),
        (removal("cus_1", "suppress"), True),
        (orjson.dumps({"identifiers": {"id": "cus_1"}, "action": "delete"}, option=orjson.OPT_INDENT_2), True),
        (IDENTIFY, False),
        (EVENT, False),
        (b'"delete"', False),
        (b'{"action":"delete"', False),
        (b'{"action":["delete"]}', False),
        (b'{"action":{"delete":"delete"}}', False),
        (b"", False),
        (None, False),
    ],
)
def test_what_is_a_removal(value: bytes | None, is_removal: bool) -> None:
    """By what it does, whatever it looks like; not by a word in it."""
    assert removes(value) is is_removal


async def test_what_becomes_a_dead_letter_removes_nobody() -> None:
    """A request that the sink does not send leaves the person at Customer.io, and all that is for them is sent."""
    request = removal("cus_1", "delete")
    large = request.removesuffix(b"}") + b',"pad":"' + b"x" * ITEM_MAX_BYTES + b'"}'
    found: list[Any] = [
        UnreadableRecord("operations", 0, 7, AT_MS, 0, b"cus_1", request, (), "a header's name is not UTF-8"),
        record(large, key=b"cus_2", offset=8),
        record(request, key=b"cus_3", offset=9),
    ]
    tp = TopicPartition("operations", 0)

    async def getmany(*_: object, **__: object) -> Any:
        return {tp: found}

    async def position(_: object) -> int:
        return 10

    looks = LookAhead(Settings.load(), Removals(), lambda: None)
    assert await looks._ahead({tp: 10}, getmany, position) == {0: {b"cus_3": Removal(9, AT_MS)}}
