"""Operations that the transform vouches for, and records that only look so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import orjson
import pytest

from pipeline.customerio.client import Response
from pipeline.customerio.vouching import MORE, word_for
from pipeline.kafka.fetched import UnreadableRecord
from pipeline.kafka.records import BARRIER, CHECKED, NOT_BEFORE
from tests.records import Consumed
from tests.sink.conftest import consumed

Virtual = Callable[[Any], Any]


def vouched(record: Consumed, more: bytes = b"", headers: Sequence[tuple[str, bytes]] = ()) -> Consumed:
    """The record as the transform writes it."""
    word = (CHECKED, word_for(record.value or b"") + more)
    return consumed(record.offset, record.key, record.value, (word, *headers), partition=record.partition)


class Strict:
    """A Customer.io that answers 400 for what is no batch, and 207 for operations called `bad`."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.accepted: list[int] = []

    async def post(self, body: bytes) -> Response:
        """Answer one request."""
        self.bodies.append(body)
        try:
            batch = orjson.loads(body)["batch"]
        except orjson.JSONDecodeError:
            return Response(400, {}, b'{"errors":[{"reason":"invalid","field":"","message":"malformed"}]}')
        bad = [index for index, one in enumerate(batch) if one.get("bad")]
        self.accepted += [one["n"] for one in batch if not one.get("bad") and "n" in one]
        if not bad:
            return Response(200, {}, b"{}")
        errors = [{"batch_index": index, "reason": "invalid", "field": "name", "message": "bad"} for index in bad]
        return Response(207, {}, orjson.dumps({"errors": errors}))


def deliver(virtual: Virtual, rig: Any, records: Sequence[Any]) -> None:
    """Bring these records of one partition to their end."""

    async def scenario() -> None:
        async with rig:
            await rig.take(*records)
            await rig.settled()

    virtual(scenario())
    assert rig.acked[0][-1] == records[-1].offset


def test_nobody_parses_them(virtual: Virtual, api: Any, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the transform wrote goes into a batch by its word; only others are looked into."""
    looked: list[bytes | None] = []
    monkeypatch.setattr("pipeline.sink.admission.fault_of", looked.append)
    own = [vouched(make.record(f"p{n}", n)) for n in range(3)]
    foreign = make.record("p3", 3)
    deliver(virtual, make.rig(api), [*own, foreign])
    assert sorted(n for _, n in api.accepted) == [0, 1, 2, 3]
    assert looked == [foreign.value]


@pytest.mark.parametrize(
    "value", [b'{"action":"event","n":', b'{"n":1},{"n":1,"action":1}', b'"a text of these bytes...."']
)
def test_a_word_beside_other_bytes(virtual: Virtual, make: Any, value: bytes) -> None:
    """A record with a copied header whose value is no operation is a dead letter, and no request has ever had it."""
    good = make.record("ann", 0)
    word = (CHECKED, word_for((good.value or b"")[: len(value)]))  # of the same length, too
    customerio = Strict()
    rig = make.rig(make.api(), post=customerio.post)
    deliver(virtual, rig, [vouched(good), consumed(1, b"bob", value, (word,)), vouched(make.record("eve", 2))])
    assert sorted(customerio.accepted) == [0, 2]
    assert not any(value in body for body in customerio.bodies)
    ((source, class_, _),) = rig.producer.told
    assert (source, class_) == ("customerio.operations/0/1", "unreadable")


@pytest.mark.parametrize("value", [None, b""])
def test_a_word_for_nothing(virtual: Virtual, make: Any, value: bytes | None) -> None:
    """A record without a value is none that anybody could vouch for."""
    customerio = Strict()
    rig = make.rig(make.api(), post=customerio.post)
    records = [consumed(0, b"bob", value, ((CHECKED, word_for(b"")),)), vouched(make.record("eve", 1))]
    deliver(virtual, rig, records)
    assert (customerio.accepted, [class_ for _, class_, _ in rig.producer.told]) == ([1], ["unreadable"])


def test_a_word_that_lies_spoils_nobody_s_batch(virtual: Virtual, make: Any) -> None:
    """A value that is no JSON is isolated by halving, and all others are accepted."""
    spoilt = consumed(3, b"bob", b'{"n":', ((CHECKED, word_for(b'{"n":')),))
    records = [vouched(make.record(f"p{n}", n)) for n in range(8)]
    records[3] = spoilt
    customerio = Strict()
    rig = make.rig(make.api(), post=customerio.post)
    deliver(virtual, rig, records)
    assert sorted(customerio.accepted) == [0, 1, 2, 4, 5, 6, 7]
    assert [source for source, _, _ in rig.producer.told] == ["customerio.operations/0/3"]


def test_a_word_that_lies_among_refused_ones(virtual: Virtual, make: Any) -> None:
    """Where nothing else is accepted either, a value that is no JSON becomes a dead letter of its own, in minutes."""

    async def post(body: bytes) -> Response:
        try:
            orjson.loads(body)
        except orjson.JSONDecodeError:
            return Response(400, {}, b'{"errors":[{"reason":"invalid","field":"batch","message":"malformed JSON"}]}')
        return Response(400, {}, b'{"errors":[{"reason":"invalid","field":"batch","message":"not now"}]}')

    rig = make.rig(make.api(), lanes=8, post=post)
    spoilt = consumed(4, b"ann", b'{"n":', ((CHECKED, word_for(b'{"n":')),))

    async def scenario() -> None:
        async with rig:
            await rig.take(*(make.record(f"bob{n}", n) for n in range(4)))
            await asyncio.sleep(20)
            await rig.take(spoilt)
            await asyncio.sleep(3_600)

    virtual(scenario())
    assert rig.crashes == []
    assert [source for source, _, _ in rig.producer.told] == ["customerio.operations/0/4"]


def test_a_word_that_lies_shifts_no_index(virtual: Virtual, make: Any) -> None:
    """Where one value is two operations, the record that is refused is given up, and never the one in its place."""
    two = b'{"x":1},{"x":2}'
    records = [vouched(make.record(f"p{n}", n, **({"bad": True} if n == 4 else {}))) for n in range(8)]
    records[1] = consumed(1, b"bob", two, ((CHECKED, word_for(two)),))
    customerio = Strict()
    rig = make.rig(make.api(), post=customerio.post)
    deliver(virtual, rig, records)
    assert set(customerio.accepted) == {0, 2, 3, 5, 6, 7}
    assert sorted((source, class_) for source, class_, _ in rig.producer.told) == [
        ("customerio.operations/0/1", "unreadable"),
        ("customerio.operations/0/4", "refused"),
    ]


def test_an_unreadable_record(virtual: Virtual, api: Any, make: Any) -> None:
    """A word does not make a record whole of which Kafka's bytes could not be read."""
    good = vouched(make.record("ann", 0))
    odd = UnreadableRecord(
        good.topic, 0, 1, good.timestamp, 0, good.key, good.value, good.headers, "the name of a header is not UTF-8"
    )
    rig = make.rig(api)
    deliver(virtual, rig, [good, odd])
    assert api.accepted == [("ann", 0)]
    assert [class_ for _, class_, _ in rig.producer.told] == ["unreadable"]


@pytest.mark.parametrize("more", [b"", MORE])
@pytest.mark.parametrize("first", [True, False])
def test_more_to_heed(virtual: Virtual, api: Any, make: Any, *, more: bytes, first: bool) -> None:
    """A barrier holds its person's next operation back, also where the word is not the first header."""
    own, barrier = make.record("ann", 0), (BARRIER, b"1")
    told = vouched(own, MORE, [barrier])
    if not first:
        told = consumed(0, b"ann", own.value, (("op-id", b"1"), (CHECKED, word_for(own.value) + more), barrier))
    deliver(virtual, make.rig(api, lanes=2), [told, vouched(make.record("ann", 1)), vouched(make.record("bob", 2))])
    assert api.batches == [[0, 2], [1]]


def test_an_early_one(virtual: Virtual, api: Any, make: Any) -> None:
    """A profile that is ahead of the clock waits for its time."""
    rig = make.rig(api, unix=lambda: 1_790_000_000 + asyncio.get_running_loop().time())
    deliver(virtual, rig, [vouched(make.record("ann", 0), MORE, [(NOT_BEFORE, b"1790000005")])])
    assert api.requests[0][0] == pytest.approx(5, abs=0.1)
