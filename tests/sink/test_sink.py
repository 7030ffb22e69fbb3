"""A whole sink against a model: whatever Customer.io answers and whenever partitions move."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.customerio.limits import BODY_MAX_BYTES
from pipeline.kafka.records import text_header
from pipeline.kafka.worker.batches import RecordBatch

Virtual = Callable[[Any], Any]

PEOPLE = ["ann", "bob", "cid", "dan"]
KINDS = st.sampled_from(["fine"] * 8 + ["bad", "poison", "junk", "barrier"])
RECORDS = st.lists(st.tuples(st.sampled_from(PEOPLE), KINDS, st.integers(0, 3)), min_size=1, max_size=40)
ANSWERS = st.sampled_from(
    ["fair"] * 5
    + ["busy", "held", "down", "lost", "silent", "unauthorized", "elsewhere", "unmatched", "page", "too large", "few"]
)
WITNESSES = 2
"""A partition of records that are good: without any, nobody could say whether a 400 is the record's fault."""

HARMLESS = {"fair", "busy", "held", "down", "unauthorized", "elsewhere", "page", "too large", "few"}
"""Answers after which the sink knows for certain what was accepted."""


@dataclass
class World:
    """A Customer.io that answers by a script, a topic of two partitions, and the rules that must hold at any time."""

    records: list[tuple[str, str, int]]
    script: list[str]
    api: Any
    make: Any
    busy: Counter[str] = field(default_factory=Counter)
    accepted: Counter[tuple[int, int]] = field(default_factory=Counter)
    first: list[tuple[str, int, int]] = field(default_factory=list)
    lettered: Callable[[], set[tuple[int, int]]] = set

    def __post_init__(self) -> None:
        self.partitions: dict[int, list[Any]] = {0: [], 1: []}
        for person, kind, pads in self.records:
            partition = PEOPLE.index(person) % 2
            offset = 2 * len(self.partitions[partition])  # holes, as compaction leaves them
            extra: dict[str, Any] = {"p": partition, "pad": "x" * pads * 9_000}
            extra |= {kind: True} if kind in {"bad", "poison"} else {}
            record = self.make.record(person, offset, partition=partition, barrier=kind == "barrier", **extra)
            if kind == "junk":
                record = self.make.raw(offset, b'{"a":1},{"b":2}', person.encode(), partition)
            self.partitions[partition].append(record)
        self.values = {(p, one.offset): one.value for p, ones in self.partitions.items() for one in ones}
        self.acked = {0: -1, 1: -1}

    def witness(self) -> Any:
        """One more operation of somebody of whom nothing is asked but to show that Customer.io takes what is good."""
        record = self.make.record("zoe", self.witnesses, partition=WITNESSES, p=WITNESSES)
        self.witnesses += 1
        self.values[WITNESSES, record.offset] = record.value
        return record

    async def answer(self, operations: list[dict[str, Any]], body: bytes) -> httpx.Response:
        """One request, with every rule about requests checked."""
        assert len(body) <= BODY_MAX_BYTES
        assert body == b'{"batch":[' + b",".join(self.values[one["p"], one["n"]] for one in operations) + b"]}"
        people = {one["identifiers"]["id"] for one in operations}
        assert not any(self.busy[person] for person in people), "a person is in two requests at once"
        self.busy.update(people)
        how = self.script.pop(0) if self.script else "fair"
        try:
            await asyncio.sleep(0.05)
            answer = self._answer(how, operations)
        finally:
            self.busy.subtract(people)
        if how == "silent":
            await asyncio.sleep(9)  # the answer comes after the client's deadline
        return answer

    def _answer(self, how: str, operations: list[dict[str, Any]]) -> httpx.Response:
        match how:
            case "busy":
                return httpx.Response(503)
            case "held":
                return httpx.Response(429, headers={"Retry-After": "7"})
            case "down":
                raise httpx.ConnectError("refused")
            case "unauthorized":
                return httpx.Response(401)
            case "elsewhere":
                return httpx.Response(301, headers={"Location": "https://track-eu.customer.io/api/v2/batch"})
            case "page":
                return httpx.Response(400, content=b"<html>Bad Request</html>")
            case "too large":
                return httpx.Response(413, content=b"<html>Request Entity Too Large</html>")
            case "few" if len(operations) > 1:
                return httpx.Response(413, content=b"<html>Request Entity Too Large</html>")
            case "unmatched":
                return httpx.Response(207, json={"errors": [{"batch_index": 999, "reason": "invalid"}]})
        fair = self._fair(operations)
        if how == "lost":
            raise httpx.ReadError("reset")
        return fair

    def _fair(self, operations: list[dict[str, Any]]) -> httpx.Response:
        if any("poison" in one for one in operations):
            return httpx.Response(400, json={"errors": [{"reason": "invalid", "field": "name", "message": "no"}]})
        bad = [index for index, one in enumerate(operations) if "bad" in one]
        refused = httpx.Response(207, json={"errors": [{"batch_index": index, "reason": "invalid"} for index in bad]})
        barred: set[str] = set()
        operations = [one for one in operations if one["p"] != WITNESSES]
        for one in operations:
            person, place = one["identifiers"]["id"], (one["p"], one["n"])
            assert person not in barred, "an operation travels with the barrier before it"
            if self._kind(place) == "barrier":
                barred.add(person)
            if "bad" not in one:
                if not self.accepted[place]:
                    self.first.append((person, *place))
                self.accepted[place] += 1
        if not bad:
            return httpx.Response(200, content=b"{}\n")
        return refused

    def _kind(self, place: tuple[int, int]) -> str:
        partition, offset = place
        mine = [kind for person, kind, _ in self.records if PEOPLE.index(person) % 2 == partition]
        return mine[offset // 2]

    def acknowledge(self, partition: int, through: int) -> None:
        """The rule of acknowledgements: everything up to here is accepted or dead-lettered."""
        self.acked[partition] = max(self.acked[partition], through)
        done = self.lettered()
        for one in self.partitions[partition]:
            if one.offset <= through:
                assert self.accepted[partition, one.offset] or (partition, one.offset) in done

    def chunks(self, partition: int, size: int, generation: int) -> list[RecordBatch]:
        """What the transport would deliver after a rebalance: everything behind the committed offset."""
        left = [one for one in self.partitions[partition] if one.offset > self.acked[partition]]
        live = {"generation": generation}

        def on_ack(through: int) -> None:
            if live["generation"] == self.generation:
                self.acknowledge(partition, through)

        parts = (left[start : start + size] for start in range(0, len(left), size))
        return [RecordBatch.of("customerio.operations", partition, part, generation, on_ack) for part in parts]

    generation: int = 0
    witnesses: int = 0


@settings(max_examples=120, deadline=None)
@given(
    records=RECORDS,
    script=st.lists(ANSWERS, max_size=25),
    lanes=st.integers(1, 4),
    size=st.integers(1, 15),
    moves=st.lists(st.floats(0.01, 40), max_size=3),
    memory=st.sampled_from([1, 20_000, 10_000_000]),
)
def test_model(
    virtual: Virtual,
    make: Any,
    *,
    records: list[tuple[str, str, int]],
    script: list[str],
    lanes: int,
    size: int,
    moves: list[float],
    memory: int,
) -> None:
    """Every record ends accepted or dead-lettered, each person's in order, and is acknowledged only then."""
    api = make.api()
    world = World(records, list(script), api, make)
    api.last = world.answer
    rig = make.rig(api, lanes=lanes, memory_bytes=memory)

    def lettered() -> list[tuple[int, int]]:
        sources = (text_header(letter.headers, "dlq-source") for letter in rig.producer.letters)
        places = (str(source).split("/")[1:] for source in sources)
        return [(int(partition), int(offset)) for partition, offset in places]

    world.lettered = lambda: set(lettered())

    async def feed(generation: int) -> None:
        for chunk in world.chunks(0, size, generation) + world.chunks(1, size, generation):
            await rig.sink.take(chunk)

    async def show(generation: int) -> None:
        while True:
            await rig.sink.take(RecordBatch.of("customerio.operations", WITNESSES, [world.witness()], generation))
            await asyncio.sleep(20)

    async def scenario() -> None:
        async with rig:
            for pause in [*moves, None]:
                world.generation += 1
                rig.assign(world.generation)
                feeding = asyncio.create_task(feed(world.generation))
                if pause is not None:
                    await asyncio.sleep(pause)
                    rig.sink.handover.begin()
                    await feeding
                    await rig.sink.handover.drained()
                else:
                    await feeding
                    showing = asyncio.create_task(show(world.generation))
                    await rig.settled()
                    showing.cancel()
            assert rig.sink.memory.taken_bytes == 0

    virtual(scenario())
    assert rig.crashes == []
    assert world.acked == {p: ones[-1].offset if ones else -1 for p, ones in world.partitions.items()}
    for person in PEOPLE:
        offsets = [offset for who, _, offset in world.first if who == person]
        assert offsets == sorted(offsets)
    letters = Counter(lettered())
    certain = HARMLESS.issuperset(script) and not moves
    for partition, ones in world.partitions.items():
        for one in ones:
            place = (partition, one.offset)
            kind = world._kind(place)
            assert world.accepted[place] + letters[place] >= 1
            if kind in {"bad", "poison", "junk"}:
                assert not world.accepted[place]
            elif "unmatched" not in script and "page" not in script:
                assert not letters[place]
            if certain:
                assert world.accepted[place] + letters[place] == 1
    for letter in rig.producer.letters:
        _, from_partition, from_offset = str(text_header(letter.headers, "dlq-source")).split("/")
        assert letter.value == world.values[int(from_partition), int(from_offset)]
    assert all(orjson.loads(body)["batch"] for _, body in api.requests)


PAGE = b"<html>no</html>"
OUTAGES = {"fair": 200, "busy": 503, "throttled": 429, "unauthorized": 401, "too large": 413, "page": 400}
TRYING = st.sampled_from(["fine"] * 4 + ["junk", "junk", "poison", "cursed"])


@settings(max_examples=100, deadline=None)
@given(
    records=st.lists(st.tuples(st.sampled_from("abcdefghij"), TRYING), min_size=1, max_size=30),
    outage=st.sampled_from(sorted(OUTAGES)),
    first=st.integers(0, 30),
    lasts_s=st.sampled_from([1, 30, 900]),
    lanes=st.integers(1, 4),
)
def test_what_waits_for_customerio_and_what_does_not(
    virtual: Virtual, make: Any, *, records: list[tuple[str, str]], first: int, outage: str, lasts_s: int, lanes: int
) -> None:
    """While everything is refused alike nobody is given up, and letters that need no request are written; then a key
    that is good again shows in any answer of Customer.io's, and everything ends as what is in it deserves."""  # noqa: D205, D209
    api = make.api()
    rig = make.rig(api, lanes=lanes)
    junk = [n for n, (_, kind) in enumerate(records) if kind == "junk"]
    due = [n for n in junk if all(kind == "junk" for who, kind in records[:n] if who == records[n][0])]
    no_good = [n for n, (_, kind) in enumerate(records) if kind != "fine"]

    def well(operations: list[dict[str, Any]], body: bytes) -> httpx.Response:
        if any("cursed" in one for one in operations):
            return httpx.Response(503)
        return api.poisoned(operations, body)  # type: ignore[no-any-return]

    def lettered() -> list[int]:
        sources = (str(text_header(letter.headers, "dlq-source")) for letter in rig.producer.letters)
        return [int(source.rsplit("/")[-1]) for source in sources]

    async def scenario() -> None:
        async with rig:
            api.last = well if outage == "fair" else api.status(OUTAGES[outage], content=PAGE)
            made = [
                make.raw(n, b"no JSON", who.encode()) if kind == "junk" else make.record(who, n, **{kind: True})
                for n, (who, kind) in enumerate(records)
            ]
            for chunk in (made[:first], made[first:]):
                if chunk:
                    await rig.take(*chunk)
                    await asyncio.sleep(lasts_s)
            assert set(due) <= set(lettered())
            if outage != "fair":
                assert sorted(lettered()) == due
            api.last = well
            await asyncio.sleep(60 * (lanes + 2))
            if all(kind != "cursed" for _, kind in records):
                assert rig.sink.gate.fault is None
            offset = len(records)
            while rig.sink.acks.undone:
                await rig.take(make.record(f"zoe{offset % 5}", offset))
                offset += 1
                await asyncio.sleep(2)
                assert offset < 40_000, "stuck"
            assert rig.sink.memory.taken_bytes == 0

    virtual(scenario())
    assert rig.crashes == []
    assert sorted(lettered()) == no_good
    for person in "abcdefghij":
        accepted = [n for who, n in api.accepted if who == person]
        assert accepted == [n for n, record in enumerate(records) if record == (person, "fine")]
