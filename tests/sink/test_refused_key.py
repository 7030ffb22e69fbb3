"""Refused credentials: everybody's, or one record's own."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import structlog
from structlog.testing import CapturingLogger

from pipeline import logs
from pipeline.kafka.records import text_header
from pipeline.sink import gate, trouble
from pipeline.sink.events import LanesHeld, LanesReleased

Virtual = Callable[[Any], Any]

BLOCKED = {"Location": "https://proxy.example.com/blocked"}


def firewall(api: Any, status: int) -> Callable[[list[dict[str, Any]], bytes], httpx.Response]:
    """A Customer.io behind a firewall that answers `status` to whatever has a poisoned operation in it."""

    def reply(operations: list[dict[str, Any]], body: bytes) -> httpx.Response:
        if any(one.get("poison") for one in operations):
            return httpx.Response(status, headers=BLOCKED if status == 302 else {})
        return api.ok(operations, body)  # type: ignore[no-any-return]

    return reply


@pytest.mark.parametrize("lanes", [8, 1])
@pytest.mark.parametrize("status", [401, 403, 302])
def test_one_record(virtual: Virtual, api: Any, make: Any, *, status: int, lanes: int) -> None:
    """A batch is narrowed down to the record that a firewall refuses, which becomes a dead letter; nobody is held."""
    api.last = firewall(api, status)
    rig = make.rig(api, lanes=lanes)

    async def scenario() -> None:
        async with rig:
            await rig.take(*(make.record(f"p{n % 40}", n, **({"poison": True} if n == 50 else {})) for n in range(100)))
            for offset in range(100, 700):
                await rig.take(make.record(f"bob{offset % 50}", offset))
                await asyncio.sleep(0.2)
            await rig.settled()

    virtual(scenario())
    assert [(source, class_) for source, class_, _ in rig.producer.told] == [("customerio.operations/0/50", "refused")]
    assert text_header(rig.producer.letters[0].headers, "dlq-status") == str(status)
    assert "for this operation alone" in str(text_header(rig.producer.letters[0].headers, "dlq-reason"))
    assert sorted(n for _, n in api.accepted) == [n for n in range(700) if n != 50]
    assert rig.of(LanesHeld) == []


@pytest.mark.parametrize("status", [401, 302])
def test_one_record_and_then_the_key(virtual: Virtual, api: Any, make: Any, status: int) -> None:
    """While the key is withdrawn nothing is given up, not even the record that a firewall refuses as well."""
    api.last = api.status(status)
    rig = make.rig(api, lanes=8)

    async def scenario() -> None:
        async with rig:
            await rig.take(*(make.record(f"p{n % 40}", n, **({"poison": True} if n == 50 else {})) for n in range(100)))
            await asyncio.sleep(3600)
            assert rig.producer.letters == []
            assert rig.acked == {0: []}
            api.last = firewall(api, status)
            for offset in range(100, 1000):
                await rig.take(make.record(f"bob{offset % 50}", offset))
                await asyncio.sleep(0.2)
            await rig.settled()

    virtual(scenario())
    assert [source for source, *_ in rig.producer.told] == ["customerio.operations/0/50"]
    assert sorted(n for _, n in api.accepted) == [n for n in range(1000) if n != 50]


def test_the_hold_says_which(virtual: Virtual, api: Any, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Alone, nobody can tell: only that lane waits, and it is said. The next person's acceptance ends it."""
    journal = CapturingLogger()
    monkeypatch.setattr(gate, "log", structlog.wrap_logger(journal, processors=[lambda _, __, event: ((), event)]))
    api.last = firewall(api, 403)
    rig = make.rig(api, lanes=8)

    async def scenario() -> None:
        async with rig:
            await rig.take(make.record("ann", 0, poison=True))
            await asyncio.sleep(600)
            assert rig.sink.gate.held == "credentials"
            assert "what was refused waits" in rig.sink.gate.holding
            before = len(api.requests)
            await rig.take(make.record("bob", 1))
            await asyncio.sleep(1)
            assert api.accepted == [("bob", 1)], "a fresh lane does not wait for the hold of another"
            assert len(api.requests) >= before + 2, "and the other one is tried at once"
            assert rig.sink.gate.held is None
            assert rig.producer.letters == []

    virtual(scenario())
    told = [call.kwargs["event"] for call in journal.calls]
    assert told == [gate.IN_DOUBT, gate.LEFT["credentials"]]


def test_one_record_through_rebalances(virtual: Virtual, api: Any, make: Any) -> None:
    """One record that is refused under several assignments is one piece of evidence: the key is in doubt, no more."""
    api.last = firewall(api, 403)
    rig = make.rig(api, lanes=8)

    async def scenario() -> None:
        async with rig:
            for generation in range(1, 7):
                rig.assign(generation)
                await rig.take(make.record("ann", 0, poison=True), generation=generation)
                await asyncio.sleep(60)
                assert "what was refused waits" in rig.sink.gate.holding

    virtual(scenario())


def test_a_wrong_key_in_a_quiet_hour(virtual: Virtual, api: Any, make: Any) -> None:
    """With one customer there is nobody to tell by, but nothing flows, and probes can say so. Nothing is lost."""
    api.last = api.status(401)
    rig = make.rig(api, lanes=8)

    async def scenario() -> None:
        async with rig:
            await rig.take(make.record("ann", 0), make.record("ann", 1))
            await asyncio.sleep(60)
            assert str(rig.sink.gate.holding).startswith("Customer.io refuses the credentials (401 Unauthorized) for ")
            await asyncio.sleep(3600)
            assert rig.producer.letters == []
            api.last = api.ok
            await rig.settled()
            assert rig.sink.gate.holding is None

    virtual(scenario())
    assert [n for _, n in api.accepted] == [0, 1]
    assert sum(at < 3660 for at, _ in api.requests) < 80
    assert [event.cause for event in rig.of(LanesReleased)] == ["credentials"]


@pytest.mark.parametrize("people", [2, 5])
def test_a_good_key_shows_in_a_refused_operation(virtual: Virtual, api: Any, make: Any, people: int) -> None:
    """A 400 in Customer.io's own words ends the hold though nothing is accepted: it has looked into the operation.

    Whose fault that is, is judged as without a hold.
    """
    api.last = api.status(401)
    rig = make.rig(api, lanes=8)

    async def scenario() -> None:
        async with rig:
            for n in range(people):
                await rig.take(make.record(f"p{n}", n, poison=True))
                await asyncio.sleep(1)  # so that each is alone in its lane
            await asyncio.sleep(600)
            assert rig.sink.gate.fault is not None
            api.last = api.poisoned
            await asyncio.sleep(180)
            assert rig.sink.gate.fault is None
            assert [event.cause for event in rig.of(LanesReleased)] == ["credentials"]
            assert rig.producer.letters == []
            await rig.take(make.record("ann", people))
            await asyncio.sleep(1)
            assert api.accepted == [("ann", people)], "nobody waits for the next question about the key"
            await rig.settled()

    virtual(scenario())
    assert len(rig.producer.letters) == people


@pytest.mark.parametrize("status", [400, 413])
def test_a_page_says_nothing_of_the_key(virtual: Virtual, api: Any, make: Any, status: int) -> None:
    """What a proxy answers during the hold, to one operation or many, ends it not: Customer.io was not asked."""
    api.last = api.status(401)
    rig = make.rig(api, lanes=8)

    async def scenario() -> None:
        async with rig:
            await rig.take(*(make.record(f"p{n}", n) for n in range(5)))
            await asyncio.sleep(600)
            await rig.take(*(make.record(f"p{n}", n) for n in range(5, 64)))
            api.last = api.status(status, content=b"<html>no</html>")
            await asyncio.sleep(600)
            assert rig.sink.gate.held == "credentials"
            assert rig.of(LanesReleased) == []
            api.last = api.ok
            await rig.settled()

    virtual(scenario())
    assert rig.producer.letters == []


def test_a_wrong_key_holds_at_once(virtual: Virtual, api: Any, make: Any) -> None:
    """With more than a few customers it takes as many requests to know, even in a single lane."""
    api.last = api.status(401)
    rig = make.rig(api, lanes=1)

    async def scenario() -> None:
        async with rig:
            await rig.take(*(make.record(f"p{n}", n) for n in range(64)))
            await asyncio.sleep(30)
            assert rig.sink.gate.held == "credentials"
            assert "everything waits" in rig.sink.gate.holding
            assert rig.of(LanesHeld)[0].cause == "credentials"

    virtual(scenario())
    assert len(api.requests) < 16
    assert rig.producer.letters == []


@pytest.fixture
def as_json(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The log as collectors read it; logging is global, and other tests find it as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    logs.configure(log_format="json")
    for module in (gate, trouble):
        monkeypatch.setattr(module, "log", logs.get(module.__name__))
    yield
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


@pytest.mark.usefixtures("as_json")
def test_a_hold_in_json(virtual: Virtual, api: Any, make: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """First failure, hold and its end are one object each, with cause and what to do; no line is anything else."""
    api.last = api.status(401)
    rig = make.rig(api, lanes=1)

    async def scenario() -> None:
        async with rig:
            await rig.take(*(make.record(f"p{n}", n) for n in range(64)))
            await asyncio.sleep(30)
            api.last = api.ok
            await rig.settled()

    virtual(scenario())
    failed, began, ended = map(json.loads, capsys.readouterr().err.splitlines())
    assert (failed["logger"], failed["reason"]) == ("pipeline.sink.trouble", "401 Unauthorized")
    assert (began["message"], began["level"]) == (gate.ENTERED["credentials"], "error")
    assert (began["cause"], began["todo"]) == ("credentials", gate.TODO)
    assert "401" in began["reason"]
    assert (ended["message"], ended["cause"]) == (gate.LEFT["credentials"], "credentials")
    assert ended["held_s"] > 0


def test_everybodys_batch_is_refused_for_one_record_each(virtual: Virtual, api: Any, make: Any) -> None:
    """When each lane's batch has a record that a firewall refuses, the first good ones show that the key is good."""
    api.last = firewall(api, 403)
    rig = make.rig(api, lanes=8)

    async def scenario() -> int:
        async with rig:
            await rig.take(
                *(make.record(f"p{n % 200}", n, **({"poison": True} if n % 25 == 7 else {})) for n in range(400))
            )
            offset = 400
            while offset < 1600 or rig.sink.acks.undone:  # a refused one ends only while others are accepted
                await rig.take(make.record(f"bob{offset % 50}", offset))
                offset += 1
                await asyncio.sleep(0.2)
                assert asyncio.get_running_loop().time() < 900
            return offset

    taken = virtual(scenario())
    assert {text_header(letter.headers, "dlq-status") for letter in rig.producer.letters} == {"403"}
    assert len(rig.producer.letters) == 16
    assert len(api.accepted) == taken - 16
