"""A sink that stands still for a reason is alive, one that lost a record is not: hours of both, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from faust.types import TP

from pipeline.kafka.events import ChunkAcknowledged, ChunkDelivered, OffsetsCommitted
from pipeline.kafka.worker.batches import RecordBatch
from pipeline.watch.progress import Progress
from pipeline.watch.pulse import PATIENCE_S, Pulse, beat, live
from pipeline.watch.vitals import Verdict, Vitals
from pipeline.watch.worker import ATTENDED_EVERY_S

Virtual = Callable[[Any], Any]

TOPIC = "customerio.operations"
HOURS = 2 * 3600.0
PARTITIONS = 4


@dataclass
class Watched:
    """A sink whose transport tells the watch what it does, as a worker's."""

    rig: Any
    progress: Progress = field(default_factory=Progress)
    pulse: Pulse | None = None
    verdicts: list[Verdict] = field(default_factory=list)
    stood: dict[TP, tuple[int | None, int | None]] = field(default_factory=dict)

    async def take(self, *records: Any) -> None:
        """Deliver one chunk; returns when the sink has room for the next."""
        partition, first, last = records[0].partition, records[0].offset, records[-1].offset

        def acknowledge(offset: int) -> None:
            self.progress(ChunkAcknowledged(TOPIC, partition, offset + 1, 1))
            self.progress(OffsetsCommitted({TP(TOPIC, partition): offset + 1}, 1, 0.0))

        self.progress(ChunkDelivered(TOPIC, partition, first, last, len(records), None, 1))
        await self.rig.sink.take(RecordBatch.of(TOPIC, partition, records, 1, acknowledge))

    def deliver(self, chunks: Sequence[Sequence[Any]]) -> asyncio.Task[None]:
        """Deliver many, the next when there is room."""

        async def one_by_one() -> None:
            for chunk in chunks:
                await self.take(*chunk)

        return asyncio.create_task(one_by_one())

    def look(self) -> Verdict:
        """One beat."""
        places = self.progress.places(TP(TOPIC, number) for number in range(PARTITIONS))
        stood, self.stood = self.stood, {tp: (place.delivered, place.acknowledged) for tp, place in places.items()}
        still = [tp for tp, place in places.items() if place.waiting and stood.get(tp) == self.stood[tp]]
        if still:
            self.progress.attempted(self.rig.sink.custody.attended(still))
            places = self.progress.places(places)
        vitals = Vitals("sink", False, False, 1, PARTITIONS, places=places)
        self.pulse = beat(self.pulse, vitals, asyncio.get_running_loop().time())
        self.verdicts.append(live(self.pulse, vitals))
        return self.verdicts[-1]

    async def watch(self, seconds: float) -> None:
        """Look every few seconds for so long."""
        until = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < until:
            self.look()
            await asyncio.sleep(ATTENDED_EVERY_S)

    async def settled(self, within_s: float = 3600.0) -> None:
        """Wait until nothing stands still any more, looking all the while."""
        async with asyncio.timeout(within_s):
            while self.rig.sink.acks.undone:
                await self.watch(ATTENDED_EVERY_S)

    @property
    def dead(self) -> list[str]:
        """Every reason for which the process would have been restarted."""
        return [verdict.reason for verdict in self.verdicts if not verdict.ok]


def chunks_of(make: Any, count: int, size: int = 20) -> list[list[Any]]:
    """Chunks of all partitions in turn, each with records of many people."""
    return [
        [make.record(f"p{n % 97}", n, partition=number % PARTITIONS) for n in range(number * size, (number + 1) * size)]
        for number in range(count)
    ]


def hold(api: Any, kind: str) -> None:
    """Let Customer.io take nothing, in one of many ways."""

    async def silence(operations: list[dict[str, Any]], body: bytes) -> httpx.Response:
        answer: httpx.Response = await api.silent(operations, body)
        return answer

    api.last = {
        "unreachable": api.unreachable,
        "silent": silence,
        "503": api.status(503),
        "429": api.status(429),
        "wait": api.status(503, headers={"Retry-After": "300"}),
        "key": api.status(401),
        "region": api.status(301),
        "page": api.status(200, content=b"<html>"),
    }[kind]


ROOM, FULL = 64 * 1024 * 1024, 100_000


@pytest.mark.parametrize(
    ("kind", "memory_bytes"),
    [(kind, FULL) for kind in ("unreachable", "silent", "503", "429", "wait", "key", "region", "page")]
    + [("503", ROOM), ("key", ROOM)],
)
def test_a_long_hold_is_no_standstill(virtual: Virtual, api: Any, make: Any, kind: str, memory_bytes: int) -> None:
    """However long Customer.io takes nothing, and whether or not memory is full of it, no look would restart the sink;
    what was kept out is delivered afterwards."""  # noqa: D205, D209 - one promise
    hold(api, kind)
    rig = make.rig(api, lanes=4, memory_bytes=memory_bytes)

    async def scenario() -> Watched:
        async with rig:
            watched = Watched(rig)
            delivering = watched.deliver(chunks_of(make, 40))
            await watched.watch(HOURS)
            assert delivering.done() == (memory_bytes == ROOM)
            api.last = api.ok
            await delivering
            await watched.settled()
        return watched

    watched = virtual(scenario())
    assert watched.dead == []
    assert sorted({n for _, n in api.accepted}) == list(range(800))


def test_brokers_that_are_away_are_no_standstill(virtual: Virtual, api: Any, make: Any) -> None:
    """While no heartbeat is answered nothing may be sent, and while no dead letter is taken nothing is acknowledged."""
    rig = make.rig(api, lanes=2)

    async def scenario() -> Watched:
        async with rig:
            watched = Watched(rig)
            rig.membership.alive = False
            await watched.deliver(chunks_of(make, 4))
            await watched.watch(4 * PATIENCE_S)
            rig.membership.alive = True
            await watched.settled()
            api.script = [api.refuse(0)]
            rig.producer.stalls = 30
            await watched.take(make.raw(1_000, b"no JSON", b"ann"), make.record("bob", 1_001))
            for _ in range(rig.producer.stalls):
                rig.sink.custody.stalled()
                await watched.watch(30.0)
            await watched.settled()
        return watched

    watched = virtual(scenario())
    assert watched.dead == []
    assert len(rig.producer.letters) == 2


def test_a_low_rate_is_no_standstill(virtual: Virtual, api: Any, make: Any) -> None:
    """With a request every few minutes a record waits its turn for long, in a lane that waits for its own."""
    rig = make.rig(api, lanes=8, rate=1 / 240)

    async def scenario() -> Watched:
        async with rig:
            watched = Watched(rig)
            delivering = watched.deliver(chunks_of(make, 8))
            await watched.watch(HOURS)
            assert delivering.done()
            await watched.settled(within_s=10 * HOURS)
        return watched

    watched = virtual(scenario())
    assert watched.dead == []


async def lose(rig: Any, offset: int) -> None:
    """Take a record that waits out of its lane, as a bug would."""
    waiting = rig.sink.queue.waiting
    items = list(waiting)
    (item,) = (one for one in items if one.record.offset == offset)
    waiting.keep(lambda one: one is not item)


@pytest.mark.parametrize("trouble", [None, "503", "key"])
def test_a_record_in_no_lane_is_found(virtual: Virtual, api: Any, make: Any, trouble: str | None) -> None:
    """A record that nobody has in hand is found within the patience, although all others flow.

    Behind one that is held it is not: as long as that stands, nothing behind it can be told.
    """
    hold(api, trouble or "503")
    rig = make.rig(api, lanes=4)

    async def scenario() -> Watched:
        async with rig:
            watched = Watched(rig)
            await watched.deliver(chunks_of(make, 8))
            await asyncio.sleep(1)
            await watched.take(*(make.record("ann", n, partition=2) for n in (500, 501)))
            await lose(rig, 500)
            if trouble is None:
                api.last = api.ok
            number = 600
            for _ in range(int(PATIENCE_S / ATTENDED_EVERY_S) + 10):
                if trouble is None:
                    await watched.take(make.record("bob", number, partition=number % PARTITIONS))
                    number += 1
                watched.look()
                await asyncio.sleep(ATTENDED_EVERY_S)
        return watched

    watched = virtual(scenario())
    place = f"{TOPIC}/2 has stood still for"
    if trouble is None:
        assert watched.dead
        assert {reason.startswith(place) for reason in watched.dead} == {True}
    else:
        assert watched.dead == []


def test_a_lost_head_is_found_in_a_hold(virtual: Virtual, api: Any, make: Any) -> None:
    """The oldest record of one partition is lost while all others are held: that partition is named, and only that."""
    hold(api, "503")
    rig = make.rig(api, lanes=4)

    async def scenario() -> Watched:
        async with rig:
            watched = Watched(rig)
            await watched.take(*(make.record(f"p{n}", n, partition=0) for n in range(40)))
            await asyncio.sleep(1)
            await watched.take(make.record("ann", 0, partition=3))
            await lose(rig, 0)
            await watched.watch(PATIENCE_S + 60)
        return watched

    watched = virtual(scenario())
    assert watched.dead
    assert {reason.startswith(f"{TOPIC}/3 has stood still for") for reason in watched.dead} == {True}


def test_a_lane_that_hangs_is_found(virtual: Virtual, api: Any, make: Any) -> None:
    """A request that never ends holds its partition's record, and other lanes' success hides nothing."""
    rig = make.rig(api, lanes=4)

    async def scenario() -> Watched:
        async with rig:
            post = rig.sink._delivery._post

            async def hanging(body: bytes) -> Any:
                if b'"poison":true' in body:
                    await asyncio.Event().wait()
                return await post(body)

            rig.sink._delivery._post = hanging
            watched = Watched(rig)
            await watched.take(make.record("ann", 0, partition=1, poison=True))
            await asyncio.sleep(1)
            for number in range(1, int(PATIENCE_S / ATTENDED_EVERY_S) + 20):
                await watched.take(make.record(f"bob{number}", number, partition=number % 2 * 2))
                watched.look()
                await asyncio.sleep(ATTENDED_EVERY_S)
        return watched

    watched = virtual(scenario())
    assert watched.dead
    assert {reason.startswith(f"{TOPIC}/1 has stood still for") for reason in watched.dead} == {True}


def test_letters_that_never_end_are_found(virtual: Virtual, rig: Any, make: Any) -> None:
    """A dead letter that is never confirmed although no broker is away is no attempt at anything."""
    rig.api.last = rig.api.refuse(0)

    async def never(*_: object) -> Awaitable[None]:
        return await asyncio.Event().wait()  # type: ignore[return-value] # it does not return

    rig.producer.send = never

    async def scenario() -> Watched:
        async with rig:
            watched = Watched(rig)
            await watched.take(make.record("ann", 0))
            await watched.watch(PATIENCE_S + 60)
        return watched

    watched = virtual(scenario())
    assert watched.dead
    assert "offset 0, was neither finished nor tried again" in watched.dead[0]


def test_nothing_is_searched_while_records_flow(virtual: Virtual, rig: Any, make: Any) -> None:
    """Without a partition that stands still nobody goes through what waits."""
    api = rig.api

    async def scenario() -> Watched:
        async with rig:
            watched = Watched(rig)
            rig.sink.acks.heads = None  # asked for, it raises
            for number in range(100):
                await watched.take(make.record("ann", number))
                await watched.watch(ATTENDED_EVERY_S)
        return watched

    watched = virtual(scenario())
    assert (len(watched.verdicts), watched.dead) == (100, [])
    assert len(api.accepted) == 100
