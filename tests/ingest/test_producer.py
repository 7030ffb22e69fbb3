"""Who waits for a record is told once, in time, whatever becomes of those beside it; aiokafka's sender is played."""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from pipeline.ingest import producer as ingest
from pipeline.ingest.events import RecordsStored
from pipeline.ingest.producer import DurableProducer
from pipeline.ingest.store import NotStored, Stored
from pipeline.kafka.records import OutRecord
from pipeline.settings import Settings
from tests.kafka.producer.test_appending import Rig, turns

WITHIN_S = 0.2


@dataclass
class Store:
    """A producer over aiokafka's accumulator, and what it told."""

    durable: DurableProducer
    rig: Rig
    told: dict[str, list[Any]]
    events: list[Any]
    waited_s: dict[str, float] = field(default_factory=dict)
    """How long each waited for what it was told first."""

    def put(self, name: str, raising: Exception | None = None) -> None:
        """A record."""
        began = time.monotonic()

        def tell(stored: Stored | NotStored) -> None:
            self.waited_s.setdefault(name, time.monotonic() - began)
            self.told[name].append(stored)
            if raising is not None:
                raise raising

        self.told[name] = []
        self.durable.put("a", OutRecord(b"k", b"0 v"), tell)


@pytest.fixture
def within_s() -> float:
    """After which the store gives up: later than any machine stands still."""
    return 60.0


@pytest.fixture
async def store(within_s: float, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Store]:
    """One that gives up after `within_s`."""
    rig, events = Rig(), list[Any]()

    async def connect(_: DurableProducer) -> Any:
        return rig.producer

    async def close(_: Any, _within_s: float) -> None:
        rig.accumulator._closed = True

    monkeypatch.setattr(DurableProducer, "_connect", connect)
    monkeypatch.setattr(ingest, "watch_producer", lambda *_: None)
    monkeypatch.setattr(ingest, "close_producer", close)
    monkeypatch.setattr(ingest, "BEAT_S", 3600.0)
    durable = DurableProducer(Settings.load(), [events.append], within_s=within_s)
    await durable.start()
    yield Store(durable, rig, {}, events)
    await durable.stop()


async def until(condition: Any) -> None:
    """Wait for what a timer does; the suite's timeout bounds it."""
    while not condition():  # noqa: ASYNC110 - callbacks, without a word
        await asyncio.sleep(0.001)


@pytest.mark.parametrize("within_s", [WITHIN_S])
async def test_a_record_that_is_not_confirmed_in_time(store: Store) -> None:
    """It is told so once, after its own time and not with an older one; a confirmation that comes then is not told."""
    store.put("first")
    await asyncio.sleep(WITHIN_S / 2)
    store.put("second")
    await until(lambda: store.told["first"])
    assert isinstance(store.told["first"][0], NotStored)
    assert "confirm" in (store.durable.trouble or "")
    await until(lambda: store.told["second"])
    assert min(store.waited_s.values()) >= WITHIN_S - 2 * ingest.TICK_S
    store.rig.drain().done(0)
    await turns()
    assert [len(told) for told in store.told.values()] == [1, 1]
    assert store.durable.trouble is None
    store.put("third")
    await until(lambda: store.told["third"])
    assert isinstance(store.told["third"][0], NotStored)


@pytest.mark.parametrize("within_s", [WITHIN_S])
async def test_who_was_told_is_let_go(store: Store) -> None:
    """A batch that waits for hours keeps its records, and nothing of the requests that were answered 503."""

    class Request:
        answered = False

        def tell(self, _: Stored | NotStored) -> None:
            type(self).answered = True

    request = Request()
    kept = weakref.ref(request)
    store.durable.put("a", OutRecord(b"k", b"0 v"), request.tell)
    del request
    await until(lambda: Request.answered)
    assert kept() is None


async def test_a_batch_is_one_event(store: Store) -> None:
    """All that became durable together is told to observers at once, with how long each waited."""
    for name in "abc":
        store.put(name)
    await turns()
    store.rig.drain().done(0, 1_800_000_000_000)
    await turns()
    assert all(isinstance(told[0], Stored) for told in store.told.values())
    [event] = [one for one in store.events if isinstance(one, RecordsStored)]
    assert (len(event.seconds), event.appended_at_ms) == (3, 1_800_000_000_000)


async def test_an_answer_that_fails_holds_up_no_other(store: Store) -> None:
    """Whatever one request's answer raises, those behind it in the batch are told."""
    store.put("first", ZeroDivisionError())
    store.put("second")
    await turns()
    store.rig.drain().done(0)
    await turns()
    assert [[type(one) for one in told] for told in store.told.values()] == [[Stored], [Stored]]


async def test_the_end_leaves_nobody_waiting(store: Store) -> None:
    """At a stop whoever still waits is told; nothing was confirmed to him."""
    store.put("first")
    await turns()
    await store.durable.stop()
    [told] = store.told["first"]
    assert isinstance(told, NotStored)
    store.put("late")
    assert isinstance(store.told["late"][0], NotStored)
