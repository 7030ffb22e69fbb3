"""A consumer group of sinks in virtual time: partitions, a coordinator, members that come and go, and a Customer.io.

What is modelled is what a sink cannot be run without and what goes wrong in it: a group that waits for its members to
give their partitions away and goes on without those that do not, offsets that are only stored under the live
generation, with what is done beyond them for whoever begins there, brokers that are away, members that are frozen, cut
off or killed, requests that Customer.io goes on with after whoever sent them has given up. The sink, its hand-over, the
watermarks, the committer and the membership are the real ones.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import httpx
import orjson
from faust.types import TP

from pipeline.customerio.client import Response, TrackClient
from pipeline.errors import RequestUnansweredError
from pipeline.kafka.records import BARRIER, NOT_BEFORE, OutRecord, text_header
from pipeline.kafka.worker.batches import DoneBits, RecordBatch
from pipeline.kafka.worker.commits import Committed, Committer
from pipeline.kafka.worker.done_ahead import DoneAhead, Witness, digest_of, parted
from pipeline.kafka.worker.handover import GRACE_S, hand_over
from pipeline.kafka.worker.inheritance import is_witness
from pipeline.kafka.worker.membership import NOT_A_MEMBER, Membership
from pipeline.kafka.worker.options import HEARTBEAT_S, QUEUED_CHUNKS, REBALANCE_S
from pipeline.kafka.worker.watermarks import PartitionWatermark, Watermarks
from pipeline.sink.sink import Sink
from tests.records import Consumed
from tests.sink.conftest import TOPIC, consumed, operation

PARTITIONS: Final = 3
SESSION_S: Final = 10.0
FEW: Final = 2
"""Operations that a proxy lets pass which is set up too narrowly."""

NEWS_S: Final = 0.5
"""A member that comes back learns within this time what the group decided without it."""

Place = tuple[int, int]
"""Partition and offset."""


@dataclass(frozen=True)
class Sent:
    """One record in the log, and what Customer.io makes of it: `good`, `refused` (207), `poison` (400 for the request
    it is in), `cursed` (503 for that request), `junk` (no JSON). One that is `early` waits for its time, and others of
    its person pass it."""  # noqa: D205, D209

    record: Consumed
    person: str
    barrier: bool
    kind: str
    early: bool = False


class CustomerIo(httpx.AsyncBaseTransport):
    """Answers as its script says, then as `mode`; remembers what it decided about every record."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.script: deque[str] = deque()
        self.mode = "ok"
        self.is_well = (
            False  # whether it takes what it cursed before: with nobody else about, nothing tells whose fault
        )
        self.accepted: dict[Place, int] = defaultdict(int)
        self.refused: set[Place] = set()
        self.answers: list[str] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Decide one request at its arrival, and answer it when its time has come."""
        places = [self.world.place_of(one) for one in orjson.loads(await request.aread())["batch"]]
        step = self.script.popleft() if self.script else self.mode
        self.answers.append(step)
        what, _, seconds = step.partition(":")
        slow_s = float(seconds or 0.01)
        if what == "late":  # taken when nobody waits for the answer any more
            await asyncio.sleep(slow_s)
            self._decide(places)
            raise httpx.ReadTimeout("too late")
        if what == "few" and len(places) > FEW:
            response: httpx.Response | None = httpx.Response(413, content=b"<html>Request Entity Too Large</html>")
        else:
            response = self._decide(places) if what in {"ok", "lost", "few"} else _refusal(what)
        await asyncio.sleep(slow_s)
        if what == "lost":
            raise httpx.ReadError("connection reset")
        if response is None:
            raise httpx.ConnectError("connection refused")
        return response

    def _decide(self, places: list[Place]) -> httpx.Response:
        kinds = [self.world.sent[place].kind for place in places]
        if self.is_well:
            kinds = ["good" if kind == "cursed" else kind for kind in kinds]
        if "cursed" in kinds:
            return httpx.Response(503)
        if "poison" in kinds:
            if len(places) == 1:
                self.refused.add(places[0])
            return httpx.Response(400, json={"errors": [{"reason": "invalid", "field": "name", "message": "bad"}]})
        errors = []
        for index, (place, kind) in enumerate(zip(places, kinds, strict=True)):
            if kind == "refused":
                self.refused.add(place)
                errors.append({"batch_index": index, "reason": "invalid", "field": "x", "message": "too long"})
            else:
                self._accept(place)
        return httpx.Response(207, json={"errors": errors}) if errors else httpx.Response(200, content=b"{}")

    def _accept(self, place: Place) -> None:
        self.accepted[place] += 1
        if self.accepted[place] == 1:
            for earlier in self.world.before(place):
                told = f"{place} was taken before {self.world.sent[earlier]} was decided"
                assert self.is_decided(earlier), told

    def is_decided(self, place: Place) -> bool:
        """Whether Customer.io took it or refused it, or it was given up for good."""
        return bool(self.accepted[place]) or place in self.refused or place in self.world.lettered


def _refusal(what: str) -> httpx.Response | None:
    match what:
        case "unreachable":
            return None
        case "429":
            return httpx.Response(429, headers={"retry-after": "3"})
        case "moved":
            return httpx.Response(301, headers={"location": "https://track-eu.customer.io/api/v2/batch"})
        case "truncated":
            return httpx.Response(200, content=b'{"err')
        case status:
            return httpx.Response(int(status))


class Member:
    """One sink in a process of its own."""

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.number = number
        self.generation = NOT_A_MEMBER  # as this process knows it
        self.cut_off = False  # from the brokers: no heartbeat, no commit, no record
        self.frozen = asyncio.Event()
        self.frozen.set()  # set: it runs
        self.leaving = False
        self.crashes: list[BaseException] = []
        self.heard_at = world.now  # as the coordinator knows it
        self.watermarks = Watermarks()
        self.committer = Committer(self.watermarks, self._store, lambda _: None)
        self.membership = Membership(SESSION_S, clock=lambda: world.now)
        self.membership.attach(self)
        self._client = TrackClient("http://api", "site", "key", lanes=world.lanes, transport=world.api)
        self._sending: set[str] = set()
        self.sink = Sink(
            post=self._post,
            producer=Letters(self),
            dead_letters_topic="dead-letters",
            membership=self.membership,
            partitions_total=lambda: PARTITIONS,
            requests_per_second=world.rate,
            lanes=world.lanes,
            crash=self.crashes.append,
            patience_s=world.patience_s,
            memory_bytes=world.memory_bytes,
            unix=lambda: world.now,
        )
        self._queue: asyncio.Queue[RecordBatch] = asyncio.Queue(QUEUED_CHUNKS)
        self._fetching: asyncio.Task[None] | None = None
        self._moving = asyncio.Lock()
        self.tasks: list[asyncio.Task[Any]] = []

    is_away = False

    def partitions_total(self, _topic: str) -> int:
        """As the driver's metadata has it."""
        return PARTITIONS

    async def start(self) -> None:
        """Begin, without partitions."""
        await self.sink.start()
        self.tasks = [asyncio.create_task(work) for work in (self._agent(), self.committer.run(), self._heartbeats())]

    async def kill(self) -> None:
        """SIGKILL: nothing of it goes on but what it has sent already."""
        self.cut_off = True
        self._fetch_no_more()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, self.sink._tasks.stop(), return_exceptions=True)

    async def close(self) -> None:
        """The end of the test."""
        await self.kill()
        await self._client.aclose()

    # --- as the transport does -----------------------------------------------------------------------------------

    async def revoke(self) -> None:
        """Give the partitions away: `BatchApp._on_partitions_revoked` and `_consumer_wait_empty`."""
        async with self._moving:
            self.membership.suspend()
            self._fetch_no_more()
            await hand_over(self.sink.handover, self.watermarks, self.committer.commit, GRACE_S)

    async def assign(self, generation: int, starts: Mapping[TP, int], ahead: Mapping[TP, DoneAhead]) -> None:
        """Begin under `generation`: `BatchApp._when_assigned`, then the seek."""
        async with self._moving:
            self._fetch_no_more()
            self.generation = generation
            self.sink.handover.resume(generation, frozenset(starts))
            self.membership.resume(generation, frozenset(starts))
            self.membership.heartbeat()
            self.watermarks.restart(generation, starts, inherited=ahead)
            self._fetching = asyncio.create_task(self._fetch(generation, dict(starts)))

    def _fetch_no_more(self) -> None:
        if self._fetching is not None:
            self._fetching.cancel()
            self._fetching = None
        while not self._queue.empty():
            self._queue.get_nowait()

    async def _fetch(self, generation: int, positions: dict[TP, int]) -> None:
        while True:
            for tp, position in positions.items():
                records = [] if self.cut_off else self.world.read(tp, position)
                if not records:
                    continue
                await self._deliver(tp, records, generation)
                positions[tp] = records[-1].offset + 1
            await self.world.sleep_until_news()

    async def _deliver(self, tp: TP, records: Sequence[Consumed], generation: int) -> None:
        """As `Consumer._deliver` of the transport."""
        watermark, end = self.watermarks.of(tp), records[-1].offset + 1
        watermark.saw(Witness(end - 1, digest_of(records[-1])))
        left = records if watermark.inherited is None else watermark.inherited.left_of(records)
        passed = left[-1].offset + 1 if left else records[0].offset
        if left:
            place = watermark, left[0].offset, left[-1].offset
            batch = RecordBatch(
                tp, left, generation, partial(self._acknowledge, *place), report=partial(self._report, *place)
            )
            watermark.deliver(*place[1:])
            await self._queue.put(batch)
        if passed < end and watermark.pass_over(passed, end):
            self.committer.moved()

    def _report(self, watermark: PartitionWatermark, first: int, last: int, done_bits: DoneBits) -> Callable[[], None]:
        watermark.ask(first, last, done_bits)
        return self.committer.moved

    def _acknowledge(self, watermark: PartitionWatermark, first: int, last: int, through: int) -> None:
        if self.watermarks.is_live(watermark) and watermark.acknowledge(first, last, through):
            self.committer.moved()

    async def _agent(self) -> None:
        while True:
            await self.sink.take(await self._queue.get())

    async def _store(self, offsets: Mapping[TP, int], generation: int, notes: Mapping[TP, str]) -> Committed:
        if self.cut_off or self.world.brokers_away:
            return Committed.UNAVAILABLE
        if generation <= 0 or self.generation != generation:
            return Committed.STALE
        return self.world.group.store(self, offsets, generation, notes)

    async def _heartbeats(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_S)
            await self.frozen.wait()
            if self.cut_off or self.world.brokers_away:
                continue
            if self.world.group.hears(self):
                self.membership.heartbeat()

    async def keep(self, record: OutRecord) -> None:
        """Write one dead letter, as soon as that can be done."""
        while self.cut_off or self.world.brokers_away or not self.frozen.is_set():  # noqa: ASYNC110 - virtual time
            await asyncio.sleep(NEWS_S)
        await self.world.keep(record)

    async def _post(self, body: bytes) -> Response:
        await self.frozen.wait()
        # What `TrackClient.send_batch` asks before the first byte; a transport of httpx's own has no such moment.
        if not self.membership.heard():
            raise RequestUnansweredError("nothing was sent", sent=False)
        sent = [self.world.sent[self.world.place_of(one)] for one in orjson.loads(body)["batch"]]
        people = {one.person for one in sent}
        assert not people & self._sending, "a person is in two requests at once"
        for person in people:
            theirs = [one.barrier for one in sent if one.person == person]
            assert not any(theirs[:-1]), "something travels with the barrier that it must wait for"
        owners = {self.world.group.owners.get(TP(TOPIC, one.record.partition)) for one in sent}
        assert owners == {self}, "a request leaves for records that are another's by now"
        self._sending |= people
        try:
            return await self._client.send_batch(body)
        finally:
            self._sending -= people


@dataclass(frozen=True)
class Letters:
    """The producer of one member."""

    member: Member

    def partition_for(self, topic: str, _key: bytes | None) -> int:
        """There is one partition."""
        assert topic == "dead-letters"
        return 0

    def chunk(self) -> Chunk:
        """A new chunk."""
        return Chunk(self.member)


@dataclass
class Chunk:
    """Dead letters that go out together."""

    member: Member
    records: list[OutRecord] = field(default_factory=list)

    def append(self, _topic: str, _partition: int, record: OutRecord) -> None:
        """Add one."""
        self.records.append(record)

    async def send(self) -> None:
        """Write them in order; some may be durable when the process ends."""
        for record in self.records:
            await self.member.keep(record)


class Group:
    """The coordinator: who is a member, which generation lives, who has what, what is committed."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.members: list[Member] = []
        self.generation = 0
        self.committed = dict.fromkeys(world.partitions, 0)
        self.texts: dict[TP, str] = {}
        self.owners: dict[TP, Member] = {}
        self._needed = asyncio.Event()
        self._known: dict[Member, int] = {}
        self._awaited: set[Member] = set()

    def need_rebalance(self) -> None:
        """Something changed."""
        self._needed.set()

    def hears(self, member: Member) -> bool:
        """A heartbeat arrived; whether its sender is a member."""
        member.heard_at = self.world.now
        if member not in self.members:
            self.members.append(member)
            self.need_rebalance()
        # One that has not given its partitions away yet hears of the rebalance instead, and begins to.
        return self._known.get(member) == self.generation and member not in self._awaited

    def store(self, member: Member, offsets: Mapping[TP, int], generation: int, texts: Mapping[TP, str]) -> Committed:
        """Take offsets of the live generation, as long as its members may still give their partitions away."""
        if self._known.get(member) != generation or generation != self.generation:
            return Committed.STALE
        for tp, offset in offsets.items():
            before = self.committed[tp]
            assert offset >= before, f"{tp}: the committed offset falls from {before} to {offset}"
            for number in range(before, offset):
                place = (tp.partition, number)
                assert self.world.is_durable(place), f"{place} is committed and was neither taken nor kept"
            self.committed[tp], self.texts[tp] = offset, texts.get(tp, "")
            if ahead := self._ahead(tp):
                for number in range(offset, len(self.world.logs[tp])):
                    place = (tp.partition, number)
                    is_sure = not ahead.since(number) & 1 or self.world.is_durable(place)
                    assert is_sure, f"{place} is told to be done and was neither taken nor kept"
        return Committed.STORED

    def _ahead(self, tp: TP) -> DoneAhead | None:
        """What lies beside the offset of records that are done, for whoever begins there."""
        ahead = parted(self.texts.get(tp, ""))[0]
        if ahead is not None:
            assert ahead.base == self.committed[tp]
            assert is_witness(self.world.logs[tp][ahead.witness.offset], ahead)
        return ahead

    async def watch_sessions(self) -> None:
        """Members that are not heard of for a session are none."""
        while True:
            await asyncio.sleep(0.25)
            if self.world.brokers_away:
                continue
            for member in [one for one in self.members if self.world.now - one.heard_at > SESSION_S]:
                self.expel(member)

    def expel(self, member: Member) -> None:
        """It is no member any more, and does not know it yet."""
        if member in self.members:
            self.members.remove(member)
        self._known.pop(member, None)
        self.need_rebalance()

    async def run(self) -> None:
        """Rebalance whenever one is needed."""
        while True:
            await self._needed.wait()
            self._needed.clear()
            await self._rebalance()

    async def _rebalance(self) -> None:
        joining = {member: asyncio.ensure_future(self._gives_away(member)) for member in self.members}
        waited_s = 0.0
        while waited_s < REBALANCE_S and (late := [one for one, task in joining.items() if not task.done()]):
            self._awaited = set(late)
            await asyncio.wait([joining[member] for member in late], timeout=NEWS_S)
            waited_s += 0.0 if self.world.brokers_away else NEWS_S  # a coordinator that is away lets nobody go
        self._awaited = set()
        for member, task in joining.items():
            if not task.done():
                task.cancel()
                self.expel(member)
        present = [one for one, task in joining.items() if task.done() and task.result() and one in self.members]
        self.generation += 1
        self._known = dict.fromkeys(present, self.generation)
        self.owners = {tp: present[tp.partition % len(present)] for tp in self.committed} if present else {}
        for member in present:
            member.heard_at = self.world.now  # by joining
            mine = {tp: self.committed[tp] for tp, owner in self.owners.items() if owner is member}
            await member.assign(self.generation, mine, {tp: one for tp in mine if (one := self._ahead(tp))})

    async def _gives_away(self, member: Member) -> bool:
        """Whether it gave its partitions away and joined again, before it was expelled."""
        while member.cut_off or not member.frozen.is_set() or self.world.brokers_away:
            await asyncio.sleep(NEWS_S)
            if member not in self.members:
                return False
        await member.revoke()
        return True


class World:
    """All of it. The dead-letter topic takes nothing while `letters_wait`."""

    def __init__(
        self, *, lanes: int = 2, memory_bytes: int = 10**7, patience_s: float = 300.0, rate: float = 100.0
    ) -> None:
        self.lanes, self.memory_bytes, self.patience_s, self.rate = lanes, memory_bytes, patience_s, rate
        self.partitions = [TP(TOPIC, number) for number in range(PARTITIONS)]
        self.logs: dict[TP, list[Consumed]] = {tp: [] for tp in self.partitions}
        self.sent: dict[Place, Sent] = {}
        self.lettered: dict[Place, str] = {}
        self.brokers_away = False
        self._news = asyncio.Event()
        self._letters_flow = asyncio.Event()
        self._letters_flow.set()
        self._persons: dict[str, list[Place]] = defaultdict(list)
        self._numbers = itertools.count()
        self._places: dict[int, Place] = {}
        self.api = CustomerIo(self)
        self.group = Group(self)
        self.members: list[Member] = []  # processes that run, whatever the group thinks
        self._names = itertools.count()
        self._tasks = [asyncio.create_task(self.group.run()), asyncio.create_task(self.group.watch_sessions())]
        self._gone: list[Member] = []

    @property
    def now(self) -> float:
        """Virtual seconds."""
        return asyncio.get_running_loop().time()

    # --- the log -------------------------------------------------------------------------------------------------

    def produce(self, person: str, kind: str = "good", *, barrier: bool = False, early_s: int = 0) -> None:
        """Append one record, which may leave in `early_s` seconds."""
        tp = self.partitions[sum(person.encode()) % PARTITIONS]
        log, number = self.logs[tp], next(self._numbers)
        place = (tp.partition, len(log))
        value = operation(person, number) if kind != "junk" else b"no JSON"
        headers = [(BARRIER, b"1")] if barrier else []
        if early_s:
            headers.append((NOT_BEFORE, b"%d" % (self.now + early_s)))
        record = consumed(len(log), person.encode(), value, headers, partition=tp.partition)
        log.append(record)
        self.sent[place] = Sent(record, person, barrier, kind, early=bool(early_s))
        self._persons[person].append(place)
        self._places[number] = place
        self._news.set()

    def read(self, tp: TP, position: int) -> list[Consumed]:
        """The next few records."""
        return [] if self.brokers_away else self.logs[tp][position : position + 7]

    async def sleep_until_news(self) -> None:
        """Return when there may be something to read."""
        self._news.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                await self._news.wait()

    def place_of(self, sent: dict[str, Any]) -> Place:
        """Where the record of an operation lies."""
        return self._places[sent["n"]]

    def before(self, place: Place) -> list[Place]:
        """The person's records before that one, which it must not pass."""
        if self.sent[place].early:
            return []
        theirs = self._persons[self.sent[place].person]
        return [one for one in theirs[: theirs.index(place)] if not self.sent[one].early]

    def is_durable(self, place: Place) -> bool:
        """Whether the record may be forgotten."""
        return bool(self.api.accepted[place]) or place in self.lettered

    # --- dead letters --------------------------------------------------------------------------------------------

    async def keep(self, record: OutRecord) -> None:
        """Take one dead letter."""
        await self._letters_flow.wait()
        _, partition, offset = str(text_header(record.headers, "dlq-source")).split("/")
        self.lettered[int(partition), int(offset)] = str(text_header(record.headers, "dlq-class"))

    def letters_wait(self, *, wait: bool) -> None:
        """Whether the dead-letter topic takes nothing."""
        (self._letters_flow.clear if wait else self._letters_flow.set)()

    # --- members -------------------------------------------------------------------------------------------------

    async def join(self) -> Member:
        """One more process."""
        member = Member(self, next(self._names))
        await member.start()
        self.members.append(member)
        return member

    @property
    def running(self) -> list[Member]:
        """Processes that were not told to end."""
        return [member for member in self.members if not member.leaving]

    async def leave(self, member: Member) -> None:
        """SIGTERM: hand over, leave the group, end."""
        member.leaving = True
        await member.revoke()
        if member in self.group.members and not (member.cut_off or self.brokers_away):
            self.group.expel(member)
        await self.kill(member)

    async def kill(self, member: Member) -> None:
        """SIGKILL."""
        if member not in self.members:
            return
        member.leaving = True
        self.members.remove(member)
        self._gone.append(member)
        member.frozen.set()
        await member.kill()

    def heal(self) -> None:
        """Everybody else is well again."""
        self.api.script.clear()
        self.api.mode = "ok"
        self.api.is_well = True
        self.brokers_away = False
        self.letters_wait(wait=False)
        for member in self.members:
            member.cut_off = False
            member.frozen.set()

    def is_finished(self) -> bool:
        """Whether the group has committed everything."""
        return all(self.group.committed[tp] == len(log) for tp, log in self.logs.items())

    def stuck(self) -> dict[str, Any]:
        """What is not finished, for a failure's message."""
        return {
            "committed": {tp.partition: offset for tp, offset in self.group.committed.items()},
            "ends": {tp.partition: len(log) for tp, log in self.logs.items()},
            "generation": self.group.generation,
            "undone": {one.number: one.sink.acks.undone for one in self.members},
            "held": {one.number: one.sink.gate.held for one in self.members},
            "answers": list(self.api.answers)[-10:],
        }

    async def close(self) -> None:
        """End all tasks."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for member in [*self.members, *self._gone]:
            await member.close()

    def check(self) -> None:
        """Raise what went wrong out of sight: crashes of members, and of the model's own tasks."""
        members = [*self.members, *self._gone]
        tasks = [*self._tasks, *(task for member in members for task in member.tasks)]
        ended = [task for task in tasks if task.done() and not task.cancelled()]
        crashes = [crash for member in members for crash in member.crashes]
        for error in [*crashes, *(task.exception() for task in ended)]:
            if error is not None:
                raise error
