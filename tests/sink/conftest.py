"""A sink without Kafka and network: time that jumps, a scripted Customer.io, and a membership that tests switch."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

import httpx
import orjson
import pytest
from faust.types import TP

from pipeline.customerio.client import TrackClient
from pipeline.errors import RecordTooLargeError
from pipeline.kafka.records import BARRIER, OutRecord, text_header
from pipeline.kafka.worker.batches import RecordBatch
from pipeline.sink.events import SinkEvent
from pipeline.sink.lending import Board
from pipeline.sink.sink import Sink
from tests.records import Consumed
from tests.virtual import run_virtual

TOPIC = "customerio.operations"

T = TypeVar("T")


@pytest.fixture(scope="session")
def virtual() -> Callable[[Coroutine[Any, Any, Any]], Any]:
    """`virtual(coroutine)` runs it in virtual time and returns its result."""
    return run_virtual


def consumed(
    offset: int,
    key: bytes | None,
    value: bytes | None,
    headers: Sequence[tuple[str, bytes]] = (),
    *,
    partition: int = 0,
) -> Consumed:
    """A record of the operations' topic."""
    return Consumed(value, tuple(headers), key, TOPIC, partition, offset, 1_790_000_000_000)


def operation(person: str, number: int, **extra: Any) -> bytes:
    """The bytes of one operation; `number` tells it from the person's others, `pad` makes it longer."""
    return orjson.dumps(
        {"type": "person", "identifiers": {"id": person}, "action": "event", "name": "e", "n": number, **extra}
    )


def record(person: str, offset: int, *, partition: int = 0, barrier: bool = False, **extra: Any) -> Consumed:
    """A record of `person` whose operation is numbered by its offset."""
    headers = ((BARRIER, b"1"),) if barrier else ()
    value = operation(person, offset, **extra)
    return consumed(offset, person.encode(), value, headers, partition=partition)


Reply = Callable[[list[dict[str, Any]], bytes], Awaitable[httpx.Response] | httpx.Response]


class ScriptedCustomerIo(httpx.AsyncBaseTransport):
    """Answers each request with the next step of a script, then with `last`; keeps what it accepted.

    A step is a function of the operations and the raw body. `accepted` holds (person, n) of every accepted operation in
    the order of acceptance, repeats included.
    """

    def __init__(self, script: Iterable[Reply] = (), last: Reply | None = None) -> None:
        self.script = list(script)
        self.last = last or self.ok
        self.requests: list[tuple[float, bytes]] = []
        self.accepted: list[tuple[str, int]] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        body = await request.aread()
        self.requests.append((asyncio.get_running_loop().time(), body))
        step = self.script.pop(0) if self.script else self.last
        answer = step(orjson.loads(body)["batch"], body)
        return answer if isinstance(answer, httpx.Response) else await answer

    @property
    def batches(self) -> list[list[int]]:
        """The numbers of the operations of each request."""
        return [[one["n"] for one in orjson.loads(body)["batch"]] for _, body in self.requests]

    def accept(self, operations: Iterable[dict[str, Any]]) -> None:
        """Take these operations."""
        self.accepted += [(one["identifiers"]["id"], one["n"]) for one in operations]

    def ok(self, operations: list[dict[str, Any]], _: bytes) -> httpx.Response:
        """Take everything."""
        self.accept(operations)
        return httpx.Response(200, content=b"{}\n")

    def refuse(self, *indexes: int) -> Reply:
        """Take everything but these indexes."""

        def reply(operations: list[dict[str, Any]], _: bytes) -> httpx.Response:
            self.accept(one for index, one in enumerate(operations) if index not in indexes)
            errors = [
                {"batch_index": index, "reason": "invalid", "field": "attributes.x", "message": "too long"}
                for index in indexes
            ]
            return httpx.Response(207, json={"errors": errors})

        return reply

    def status(self, code: int, *, headers: dict[str, str] | None = None, content: bytes = b"") -> Reply:
        """Answer `code` and take nothing."""
        return lambda _operations, _body: httpx.Response(code, headers=headers, content=content)

    def poisoned(self, operations: list[dict[str, Any]], body: bytes) -> httpx.Response:
        """Refuse the whole request while a poisoned operation is in it."""
        if any(one.get("poison") for one in operations):
            return httpx.Response(400, json={"errors": [{"reason": "invalid", "field": "name", "message": "bad"}]})
        return self.ok(operations, body)

    def lost(self, operations: list[dict[str, Any]], _: bytes) -> httpx.Response:
        """Take everything, but the answer never arrives."""
        self.accept(operations)
        raise httpx.ReadError("connection reset")

    def unreachable(self, _operations: list[dict[str, Any]], _body: bytes) -> httpx.Response:
        """No connection."""
        raise httpx.ConnectError("connection refused")

    async def silent(self, _operations: list[dict[str, Any]], _body: bytes) -> httpx.Response:
        """No answer within the deadline, and nothing taken."""
        await asyncio.sleep(11)
        raise httpx.ReadTimeout("nothing came")


@dataclass
class MemoryChunk:
    """Letters that go out together; `limit_bytes` is what their topic takes."""

    producer: MemoryProducer
    records: list[tuple[str, OutRecord]] = field(default_factory=list)

    def append(self, topic: str, _partition: int, record: OutRecord) -> None:
        """Add one."""
        if len(record.value or b"") > self.producer.limit_bytes:
            raise RecordTooLargeError("too large")
        self.records.append((topic, record))

    async def send(self) -> None:
        """Return when the last of them is kept."""
        if self.records:
            self.producer.chunks.append(len(self.records))
        for topic, record in self.records:
            await self.producer.send(topic, record)


class MemoryProducer:
    """Keeps dead letters; `failures` makes the next writes wait that many virtual minutes."""

    def __init__(self) -> None:
        self.letters: list[OutRecord] = []
        self.chunks: list[int] = []
        self.limit_bytes = 10**9
        self.stalls = 0

    def partition_for(self, _topic: str, key: bytes | None) -> int:
        """Stands for murmur2: two partitions."""
        return len(key or b"") % 2

    def chunk(self) -> MemoryChunk:
        """A new chunk."""
        return MemoryChunk(self)

    async def send(self, topic: str, record: OutRecord) -> tuple[int, int]:
        """Keep one record, as each of a chunk is kept in turn."""
        assert topic == "dead-letters"
        while self.stalls:
            self.stalls -= 1
            await asyncio.sleep(60)
        self.letters.append(record)
        return 0, len(self.letters) - 1

    @property
    def told(self) -> list[tuple[str | None, ...]]:
        """Source, class and reason of each letter."""
        return [
            tuple(text_header(letter.headers, name) for name in ("dlq-source", "dlq-class", "dlq-reason"))
            for letter in self.letters
        ]


@dataclass
class SwitchedMembership:
    """Alive until a test says otherwise."""

    alive: bool = True

    def may_send(self, generation: int) -> bool:
        """Whether the test lets requests out."""
        return self.alive and generation > 0

    may_finish = may_send


@dataclass
class Rig:
    """A whole sink on a scripted Customer.io."""

    api: ScriptedCustomerIo
    lanes: int = 1
    rate: float = 1000.0
    memory_bytes: int = 64 * 1024 * 1024
    patience_s: float = 300.0
    board: Board | None = None
    post: Callable[[bytes], Awaitable[Any]] | None = None  # instead of HTTP, which costs the most of a long story
    unix: Callable[[], float] = time.time
    events: list[SinkEvent] = field(default_factory=list)
    observers: list[Callable[[SinkEvent], None]] = field(default_factory=list)
    crashes: list[BaseException] = field(default_factory=list)
    may_crash: bool = False  # the test looks at `crashes` itself
    acked: dict[int, list[int]] = field(default_factory=dict)
    membership: SwitchedMembership = field(default_factory=SwitchedMembership)
    producer: MemoryProducer = field(default_factory=MemoryProducer)

    async def __aenter__(self) -> Self:
        self.client = TrackClient("http://api", "site", "key", lanes=self.lanes, transport=self.api)
        self.sink = Sink(
            post=self.post or self.client.send_batch,
            producer=self.producer,
            dead_letters_topic="dead-letters",
            membership=self.membership,
            partitions_total=lambda: 4,
            requests_per_second=self.rate,
            lanes=self.lanes,
            crash=self.crashes.append,
            observers=[self.events.append, *self.observers],
            patience_s=self.patience_s,
            memory_bytes=self.memory_bytes,
            board=self.board,
            lease_clock=asyncio.get_running_loop().time,
            unix=self.unix,
        )
        await self.sink.start()
        self.assign(1)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.sink.stop()
        await self.client.aclose()
        assert self.may_crash or self.crashes == []

    def assign(self, generation: int, partitions: int = 4) -> None:
        """Resume under `generation`."""
        self.sink.handover.resume(generation, frozenset(TP(TOPIC, number) for number in range(partitions)))

    def batch(self, records: Sequence[Consumed], generation: int = 1) -> RecordBatch:
        """A chunk whose acknowledgements land in `acked`."""
        acked = self.acked.setdefault(records[0].partition, [])
        return RecordBatch.of(TOPIC, records[0].partition, records, generation, acked.append)

    async def take(self, *records: Consumed, generation: int = 1) -> None:
        """Take in one chunk."""
        await self.sink.take(self.batch(records, generation))

    async def take_among_others(self, seconds: int, people: int) -> None:
        """Take in one poisoned record of ann's, and then one of somebody else's each second."""
        await self.take(record("ann", 0, poison=True))
        for offset in range(1, seconds):
            await self.take(record(f"bob{offset % people}", offset))
            await asyncio.sleep(1)

    async def settled(self) -> None:
        """Return when every record is done, and let go once; a virtual day without that is a hang."""
        async with asyncio.timeout(86_400):
            while self.sink.acks.undone:  # noqa: ASYNC110 - virtual time costs nothing; no seam only for tests
                await asyncio.sleep(0.05)
        assert self.sink.memory.taken_bytes == 0
        assert self.sink.handover._held == 0

    def of(self, kind: type[T]) -> list[T]:
        """The events of one class."""
        return [event for event in self.events if isinstance(event, kind)]


class Make:
    """Builders, for test modules."""

    operation = staticmethod(operation)
    record = staticmethod(record)
    rig = Rig
    api = ScriptedCustomerIo

    @staticmethod
    def raw(offset: int, value: bytes | None, key: bytes = b"ann", partition: int = 0) -> Consumed:
        """A record with any value."""
        return consumed(offset, key, value, partition=partition)


@pytest.fixture(scope="session")
def make() -> type[Make]:
    """Builders of operations, records and rigs."""
    return Make


@pytest.fixture
def api() -> ScriptedCustomerIo:
    """A Customer.io that takes everything until a test gives it a script."""
    return ScriptedCustomerIo()


@pytest.fixture
def rig(api: ScriptedCustomerIo) -> Rig:
    """A sink of one lane on `api`."""
    return Rig(api)
