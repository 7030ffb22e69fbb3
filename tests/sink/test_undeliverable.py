"""One customer's trouble delays one lane, and in the end costs one record."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from pipeline.kafka.records import text_header

Virtual = Callable[[Any], Any]

PAGE = httpx.Response(400, content=b"<html>Bad Request</html>")
ERRORS = {"errors": [{"reason": "invalid", "field": "name", "message": "bad"}]}


def broken_by_poison(api: Any, status: int) -> Callable[[list[dict[str, Any]], bytes], httpx.Response]:
    """A Customer.io that answers `status` to whatever has a poisoned operation in it."""

    def reply(operations: list[dict[str, Any]], body: bytes) -> httpx.Response:
        if any(one.get("poison") for one in operations):
            return httpx.Response(status, json=ERRORS if status == 400 else None)
        return api.ok(operations, body)  # type: ignore[no-any-return]

    return reply


@pytest.mark.parametrize("lanes", [8, 1])
def test_only_the_record_that_fails(virtual: Virtual, api: Any, make: Any, lanes: int) -> None:
    """After five minutes the record that gets 500 is given up alone, its neighbours arrive, and nobody else waited."""
    api.last = broken_by_poison(api, 500)
    rig = make.rig(api, lanes=lanes)

    async def scenario() -> float:
        async with rig:
            await rig.take(*(make.record("ann", n, **({"poison": True} if n == 5 else {})) for n in range(10)))
            for offset in range(10, 1000):
                await rig.take(make.record(f"bob{offset % 50}", offset))
                await asyncio.sleep(1)
                if lanes > 1 and offset == 250:
                    assert rig.producer.letters == []
            await rig.settled()
            return asyncio.get_running_loop().time()

    virtual(scenario())
    assert [(source, class_) for source, class_, _ in rig.producer.told] == [
        ("customerio.operations/0/5", "undeliverable")
    ]
    letter = rig.producer.letters[0]
    assert letter.value == make.operation("ann", 5, poison=True)
    assert text_header(letter.headers, "dlq-status") == "500"
    assert sorted(n for _, n in api.accepted) == [n for n in range(1000) if n != 5]
    assert [n for who, n in api.accepted if who == "ann"] == [0, 1, 2, 3, 4, 6, 7, 8, 9]
    assert rig.acked[0][-1] == 999


def test_throttled_alone_is_no_fault(virtual: Virtual, api: Any, make: Any) -> None:
    """A record that gets 429 while others pass for half an hour is not given up: too many is no record's fault."""
    api.last = broken_by_poison(api, 429)
    rig = make.rig(api, lanes=8)

    async def scenario() -> None:
        async with rig:
            await rig.take_among_others(1800, people=50)

    virtual(scenario())
    assert rig.producer.letters == []


def test_the_limit_is_a_setting(virtual: Virtual, api: Any, make: Any) -> None:
    """With a limit of ten seconds the record is given up within a fraction of the usual time."""
    api.last = broken_by_poison(api, 503)
    rig = make.rig(api, lanes=8, patience_s=10.0)

    async def scenario() -> None:
        async with rig:
            await rig.take_among_others(240, people=50)

    virtual(scenario())
    assert [class_ for _, class_, _ in rig.producer.told] == ["undeliverable"]


@pytest.mark.parametrize("status", [400, 413])
@pytest.mark.parametrize("answer", [PAGE, httpx.Response(400, json=ERRORS)], ids=["a proxy's page", "Customer.io's"])
@pytest.mark.parametrize("lanes", [8, 1])
def test_a_refusal_of_everything_is_an_outage(
    virtual: Virtual, api: Any, make: Any, *, answer: httpx.Response, status: int, lanes: int
) -> None:
    """When every request of every lane is answered with 400 or 413, nothing is given up, however long, with few
    requests, and with several lanes it is said."""  # noqa: D205, D209 - one promise
    api.last = lambda _operations, _body: httpx.Response(status, content=answer.content)
    rig = make.rig(api, lanes=lanes)

    async def scenario() -> None:
        async with rig:
            await rig.take(*(make.record(f"p{n % 40}", n) for n in range(400)))
            await asyncio.sleep(3600)
            assert rig.producer.letters == []
            assert rig.acked == {0: []}
            assert str(rig.sink.gate.holding).startswith("Customer.io takes nothing (")
            api.last = api.ok
            await rig.settled()

    virtual(scenario())
    halvings = math.ceil(math.log2(400 / lanes))
    assert sum(at < 3600 for at, _ in api.requests) < lanes * (halvings + 16) + 60
    assert rig.producer.letters == []
    assert sorted(n for _, n in api.accepted) == list(range(400))
    for person in {who for who, _ in api.accepted}:
        own = [n for who, n in api.accepted if who == person]
        assert own == sorted(own)


def test_a_400_for_the_only_operation_there_is(virtual: Virtual, rig: Any, make: Any) -> None:
    """With nobody else to tell by, what Customer.io refuses in its own words is refused after three tries."""
    rig.api.last = broken_by_poison(rig.api, 400)

    async def scenario() -> None:
        async with rig:
            await rig.take(make.record("ann", 0, poison=True))
            await rig.settled()

    virtual(scenario())
    assert [class_ for _, class_, _ in rig.producer.told] == ["refused"]
    assert len(rig.api.requests) == 3


@pytest.mark.parametrize("good_behind", [True, False])
def test_a_culprit_before_everybody_else(virtual: Virtual, rig: Any, make: Any, *, good_behind: bool) -> None:
    """With one lane, refused records at its head are told apart by the first other person that is accepted."""
    rig.api.last = broken_by_poison(rig.api, 400)
    bad = [make.record(f"bad{n}", n, poison=True) for n in range(5)]

    async def scenario() -> None:
        async with rig:
            await rig.take(*bad)
            await asyncio.sleep(1800)
            assert rig.producer.letters == []
            if good_behind:
                await rig.take(make.record("ann", 5))
                await rig.settled()

    virtual(scenario())
    assert len(rig.producer.letters) == (5 if good_behind else 0)
    assert rig.api.accepted == ([("ann", 5)] if good_behind else [])


REQUEST = {"errors": [{"reason": "required", "field": "batch", "message": "is required"}]}


@pytest.mark.parametrize("lanes", [8, 1])
@pytest.mark.parametrize(
    ("answer", "customers", "letters"),
    [(ERRORS, 2, 2), (ERRORS, 3, 3), (ERRORS, 4, 0), (REQUEST, 2, 0), (None, 2, 0)],
    ids=["two", "three", "as many as everybody", "the request's field", "a proxy's page"],
)
def test_a_few_customers_alone(
    virtual: Virtual, api: Any, make: Any, *, answer: dict[str, Any] | None, customers: int, letters: int, lanes: int
) -> None:
    """With nobody else there, a 400 that names a field of the operation is its own after five minutes.

    For two or three customers. From four on, and when the request is to blame or a proxy wrote the answer, all wait.
    """
    api.last = lambda _, __: httpx.Response(400, json=answer) if answer else httpx.Response(400, content=PAGE.content)
    rig = make.rig(api, lanes=lanes)

    async def scenario() -> None:
        async with rig:
            await rig.take(*(make.record(f"p{n}", n) for n in range(customers)))
            await asyncio.sleep(299)
            assert rig.producer.letters == []
            await asyncio.sleep(3600)
            assert len(rig.producer.letters) == letters
            assert (rig.sink.gate.holding is None) == bool(letters), "an outage that was none does not last"
            api.last = api.ok
            await rig.settled()

    virtual(scenario())
    assert {class_ for _, class_, _ in rig.producer.told} == ({"refused"} if letters else set())
    assert len(api.accepted) == customers - letters


@pytest.mark.parametrize("before", [503, 401])
def test_minutes_of_an_outage_are_no_evidence(virtual: Virtual, api: Any, make: Any, before: int) -> None:
    """The five minutes begin with the first 400: what was held for an hour before is not given up at once."""
    api.last = api.status(before)
    rig = make.rig(api, lanes=8)

    async def scenario() -> None:
        async with rig:
            await rig.take(*(make.record(f"p{n}", n, poison=True) for n in range(3)))
            await asyncio.sleep(3600)
            api.last = api.poisoned
            await asyncio.sleep(299)
            assert rig.producer.letters == []
            await asyncio.sleep(900)
            assert len(rig.producer.letters) == 3

    virtual(scenario())


def test_two_customers_refused_for_different_fields(virtual: Virtual, api: Any, make: Any) -> None:
    """Refusals in different words are not everybody's, however many there are."""

    def each_its_own(operations: list[dict[str, Any]], _: bytes) -> httpx.Response:
        error = {"reason": "invalid", "field": "identifiers.id", "message": operations[0]["identifiers"]["id"]}
        return httpx.Response(400, json={"errors": [error]})

    api.last = each_its_own
    rig = make.rig(api, lanes=8)

    async def scenario() -> None:
        async with rig:
            await rig.take(*(make.record(f"p{n}", n) for n in range(6)))
            await rig.settled()

    virtual(scenario())
    assert [class_ for _, class_, _ in rig.producer.told] == ["refused"] * 6


def test_a_full_memory_does_not_hide_the_others(virtual: Virtual, api: Any, make: Any) -> None:
    """A failing person whose backlog fills the memory keeps nobody out for good."""
    api.last = broken_by_poison(api, 500)
    rig = make.rig(api, lanes=8, memory_bytes=20_000)

    async def scenario() -> None:
        async with rig:
            records = [make.record("ann", n, poison=n == 0) for n in range(30)]
            records += [make.record(f"bob{n % 7}", n) for n in range(30, 300)]
            await rig.take(*records)
            await rig.settled()

    virtual(scenario())
    assert [source for source, *_ in rig.producer.told] == ["customerio.operations/0/0"]
    assert sorted(n for _, n in api.accepted) == list(range(1, 300))
    assert rig.sink.memory.taken_bytes == 0
