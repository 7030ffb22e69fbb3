"""Ingest without Kafka: a store in memory, an ASGI client, a real HTTP server on a free port."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from pipeline.dodo.signature import Verifier, sign
from pipeline.http.server import Server
from pipeline.ingest import PATH
from pipeline.ingest.app import create_app
from pipeline.ingest.endpoint import WebhookEndpoint
from pipeline.ingest.server import limits_of
from pipeline.ingest.store import NotStored, Stored, Told
from pipeline.kafka.cluster.topics import check_topics
from pipeline.kafka.records import OutRecord
from pipeline.settings import Settings
from tests.asking import local_client

LIVE = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
PATIENCE_S = 300.0
"""Limit of every wait; reaching it is a failure, whatever the machine does besides."""

TEST = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"


@dataclass
class MemoryStore:
    """Keeps records; `answer` is what it says, `gate` holds it until set."""

    answer: Stored | NotStored = field(default_factory=lambda: Stored(0.001))
    gate: asyncio.Event | None = None
    records: list[tuple[str, OutRecord]] = field(default_factory=list)
    _behind: set[asyncio.Task[None]] = field(default_factory=set)

    def put(self, topic: str, record: OutRecord, told: Told) -> None:
        """Append."""
        if self.gate is None:
            self.records.append((topic, record))
            told(self.answer)
        else:
            self._behind.add(asyncio.ensure_future(self._put_later(self.gate, topic, record, told)))

    async def _put_later(self, gate: asyncio.Event, topic: str, record: OutRecord, told: Told) -> None:
        await gate.wait()
        self.records.append((topic, record))
        told(self.answer)


@dataclass
class Edge:
    """The endpoint, what it stored and what it told."""

    store: MemoryStore
    app: Starlette
    endpoint: WebhookEndpoint
    events: list[Any]
    address: tuple[str, int] = ("", 0)
    server: Server | None = None


@dataclass(frozen=True)
class Answer:
    """An HTTP answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes


Ask = Callable[..., Awaitable[Answer | None]]


@pytest.fixture(scope="session")
def make_edge() -> Callable[[], Edge]:
    """The webhook path over a store in memory; a new one at each call."""
    return _edge


@pytest.fixture
def edge() -> Edge:
    """The same, one for the test."""
    return _edge()


def _edge() -> Edge:
    store, events = MemoryStore(), list[Any]()
    endpoint = WebhookEndpoint(
        Verifier([LIVE], [TEST]), store, webhooks_topic="w", dead_letters_topic="d", observers=[events.append]
    )
    app = Starlette(
        routes=[Route(PATH, endpoint, methods=["POST"]), Route("/probe", lambda _: PlainTextResponse("here"))]
    )
    return Edge(store, app, endpoint, events)


@pytest.fixture(scope="session")
def signed() -> Callable[..., dict[str, str]]:
    """`signed(body, secret=…, webhook_id=…)`: the headers of a genuine request made now."""

    def build(body: bytes, *, secret: str = LIVE, webhook_id: str = "msg_1", **others: str) -> dict[str, str]:
        return {**sign(secret, webhook_id, int(time.time()), body), **others}

    return build


@pytest.fixture(scope="session")
def ask() -> Ask:
    """`ask(app, headers, *parts)`: one ASGI request whose body comes in parts; None when it got no answer.

    A part that is None is a client that hangs up.
    """
    return _ask


async def _ask(
    app: Any,
    headers: Mapping[str, str] | Sequence[tuple[bytes, bytes]],
    *parts: bytes | None,
    method: str = "POST",
    path: str = PATH,
) -> Answer | None:
    raw = (
        [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
        if isinstance(headers, Mapping)
        else list(headers)
    )
    messages: list[dict[str, Any]] = [
        {"type": "http.disconnect"}
        if part is None
        else {"type": "http.request", "body": part, "more_body": number < len(parts)}
        for number, part in enumerate(parts or (b"",), start=1)
    ]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "scheme": "http",
        "headers": raw,
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
    }
    await app(scope, receive, send)
    if not sent:
        return None
    answered = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return Answer(sent[0]["status"], answered, b"".join(message.get("body", b"") for message in sent[1:]))


@pytest.fixture
async def served(edge: Edge) -> AsyncIterator[Edge]:
    """The same behind the real HTTP server; `address` is where it listens."""
    listener = socket.create_server(("127.0.0.1", 0))
    directs = {("POST", PATH): edge.endpoint}
    limits = replace(limits_of(Settings.load()), body_within_s=PATIENCE_S)  # it may stand still in the middle
    edge.server = Server(edge.app, listener, limits, directs=directs)
    edge.server.start()
    edge.address = listener.getsockname()
    yield edge
    await edge.server.stop(PATIENCE_S)


@pytest.fixture
def exchange() -> Callable[..., Awaitable[bytes]]:
    """`exchange(address, *parts)`: write raw bytes to a new connection, return all that comes back until it closes."""

    async def talk(address: tuple[str, int], *parts: bytes) -> bytes:
        reader, writer = await asyncio.open_connection(*address)
        try:
            for part in parts:
                writer.write(part)
                await writer.drain()
            writer.write_eof()
            async with asyncio.timeout(300):
                return await reader.read()
        except ConnectionError:
            return b""
        finally:
            writer.close()

    return talk


@dataclass
class RunningIngest:
    """The complete application over real Kafka."""

    url: str
    events: list[Any]
    client: httpx.AsyncClient
    signed: Callable[..., dict[str, str]]

    async def post(self, body: bytes, webhook_id: str = "msg_1", **headers: str) -> httpx.Response:
        """Send a genuine webhook."""
        signed = self.signed(body, webhook_id=webhook_id, **headers)
        return await self.client.post(f"{self.url}{PATH}", content=body, headers=signed)

    async def becomes(self, status: int, path: str = "/ready") -> httpx.Response:
        """Wait until a probe answers so."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                answer = await self.client.get(f"{self.url}{path}")
                if answer.status_code == status:
                    return answer
                await asyncio.sleep(0.05)


@pytest.fixture
def running(signed: Callable[..., dict[str, str]]) -> Callable[[Settings], AbstractAsyncContextManager[RunningIngest]]:
    """Serves the ingest of given settings over the real HTTP server, in this process."""

    @asynccontextmanager
    async def run(settings: Settings) -> AsyncIterator[RunningIngest]:
        events: list[Any] = []
        app = create_app(settings, observers=[events.append])
        listener = socket.create_server(("127.0.0.1", 0))
        server = Server(app, listener, limits_of(settings), directs=app.state.directs)
        limits = httpx.Limits(max_connections=500)  # no request waits for another one's connection
        async with (
            app.router.lifespan_context(app),
            local_client(limits=limits) as client,
        ):
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            server.start()
            try:
                yield RunningIngest(url, events, client, signed)
            finally:
                await server.stop(PATIENCE_S)

    return run


@pytest.fixture
def read_topic() -> Callable[[Settings, str], Awaitable[list[Any]]]:
    """Reads every record that the named topic holds now."""

    async def read(settings: Settings, topic: str) -> list[Any]:
        consumer = AIOKafkaConsumer(bootstrap_servers=settings.kafka_bootstrap_servers, group_id=None)
        await consumer.start()
        try:
            count = (await check_topics(settings, [topic]))[topic]
            partitions = [TopicPartition(topic, number) for number in range(count)]
            consumer.assign(partitions)
            await consumer.seek_to_beginning(*partitions)
            ends = await consumer.end_offsets(partitions)
            records: list[Any] = []
            async with asyncio.timeout(PATIENCE_S):
                while any([await consumer.position(tp) < end for tp, end in ends.items()]):
                    for batch in (await consumer.getmany(timeout_ms=200)).values():
                        records += batch
            return records
        finally:
            await consumer.stop()

    return read
