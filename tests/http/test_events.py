"""Each connection that the server ends is told with its reason, once, and shows in the log and in the metrics."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any, get_args

import pytest
from structlog.testing import capture_logs

from pipeline.http import connection, server
from pipeline.http.bind import bind
from pipeline.http.events import ConnectionEnded, ConnectionsCounted, DescriptorsExhausted, Reason
from pipeline.http.journal import QUIET_S, ConnectionJournal
from pipeline.http.limits import Limits
from pipeline.http.server import Server
from pipeline.watch.connections import observe_connections
from pipeline.watch.metrics import Metrics
from tests.http.attacks import head

SHORT_S = 0.1
LIMITS = Limits(body_bytes=1000, body_within_s=SHORT_S, connections=2, incoming_bytes=700, held_bytes=2000)


class App:
    """Answers when it may, a lot where it is asked for."""

    def __init__(self) -> None:
        self.may = asyncio.Event()
        self.begun = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        self.begun += 1
        await receive()
        await self.may.wait()
        body = b"x" * (20_000_000 if scope["path"] == "/much" else 1)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
        await send({"type": "http.response.body", "body": body})


@contextlib.asynccontextmanager
async def serving(app: App, events: list[Any]) -> AsyncIterator[Server]:
    """The application, two connections at most."""
    serves = Server(app, bind("127.0.0.1", 0), LIMITS, observers=[events.append])
    serves.start()
    yield serves
    app.may.set()
    await serves.stop(0)


async def told(events: list[Any]) -> list[Reason]:
    """Wait for the first one; all of them."""
    while not any(isinstance(event, ConnectionEnded) for event in events):  # noqa: ASYNC110 - a list
        await asyncio.sleep(0.005)
    return [event.reason for event in events if isinstance(event, ConnectionEnded)]


BYTES: dict[Reason, bytes] = {
    "late head": head("/")[:-3],
    "late body": head("/", "content-length: 10") + b"x",
    "large head": b"GET / HTTP/1.1\r\nx: " + b"y" * 40_000,
    "large body": head("/", "content-length: 1001"),
    "malformed": b"\x16\x03\x01\r\n\r\n",
    "overloaded": head("/", "content-length: 1000") + b"x" * 900,
    "late reader": head("/much", method="GET"),
}


@pytest.mark.parametrize("reason", BYTES)
async def test_what_a_client_does(reason: Reason, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told once, by its own name."""
    limit = {"late head": "HEAD_WITHIN_S", "late reader": "SEND_WITHIN_S"}.get(reason)
    if limit is not None:  # no other reason has to come before it
        monkeypatch.setattr(connection, limit, SHORT_S)
    monkeypatch.setattr(server, "SWEEP_S", 0.02)
    app, events = App(), list[Any]()
    app.may.set()
    async with serving(app, events) as serves:
        _, writer = await asyncio.open_connection(*serves.address, limit=1000)
        writer.write(BYTES[reason])
        assert await told(events) == [reason]
        writer.transport.abort()


@pytest.mark.parametrize(("busy", "reason"), [(False, "evicted"), (True, "refused")])
async def test_a_port_that_is_full(busy: bool, reason: Reason) -> None:
    """One that asked for nothing makes room; where each waits for its answer the new one is sent away."""
    app, events = App(), list[Any]()
    async with serving(app, events) as serves:
        writers = []
        for number in range(3):
            _, writer = await asyncio.open_connection(*serves.address)
            writers.append(writer)
            if busy and number < 2:
                writer.write(head("/", method="GET"))
                while app.begun <= number:  # noqa: ASYNC110 - a number
                    await asyncio.sleep(0)
        assert await told(events) == [reason]
        for writer in writers:
            writer.transport.abort()


async def test_who_has_the_last_answer_keeps_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that is open only so that its answer can be read makes room for one that asks."""
    monkeypatch.setattr(connection, "LINGER_S", 3600.0)
    app, events = App(), list[Any]()
    app.may.set()
    asked = head("/", "connection: close", method="GET")
    async with serving(app, events) as serves:
        writers = []
        for _ in range(LIMITS.connections):
            reader, writer = await asyncio.open_connection(*serves.address)
            writers.append(writer)
            writer.write(asked + b"more than was asked for")
            assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
        reader, writer = await asyncio.open_connection(*serves.address)
        writer.write(asked)
        assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
        assert await told(events) == ["evicted"]
        for one in (*writers, writer):
            one.transport.abort()


def test_every_reason_is_tried() -> None:
    """A new one comes with its test."""
    assert {*BYTES, "evicted", "refused"} == set(get_args(Reason))


@pytest.fixture
def journal() -> tuple[Callable[[float], None], ConnectionJournal]:
    """A journal, and what moves its clock."""
    now = [0.0]

    def wait(seconds: float) -> None:
        now[0] += seconds

    return wait, ConnectionJournal("PIPELINE_MAX_CONNECTIONS", lambda: now[0])


def test_a_flood_is_a_line_of_each_kind(journal: Any) -> None:
    """The first is told at once, the rest are counted into the next line: nobody fills a disk."""
    wait, tell = journal
    with capture_logs() as lines:
        for _ in range(1000):
            tell(ConnectionEnded("late head"))
            tell(ConnectionEnded("evicted"))
        wait(QUIET_S + 1)
        tell(ConnectionEnded("evicted"))
    assert [(line["reason"], line["like_this_since_last"]) for line in lines] == [
        ("late head", 0),
        ("evicted", 0),
        ("evicted", 999),
    ]


def test_the_line_says_which_knob_to_turn(journal: Any) -> None:
    """The setting of the number of connections; the limit of file descriptors."""
    _, tell = journal
    with capture_logs() as lines:
        tell(ConnectionEnded("refused"))
        tell(DescriptorsExhausted("Too many open files"))
    assert "PIPELINE_MAX_CONNECTIONS" in lines[0]["event"]
    assert "ulimit -n" in lines[1]["event"]


def test_connections_are_counted() -> None:
    """Open ones, their limit, those that we ended by reason, and those that could not be taken."""
    metrics = Metrics("ingest")
    observe_connections(metrics)
    for event in (
        ConnectionsCounted(7, 1000),
        ConnectionEnded("evicted"),
        ConnectionEnded("evicted"),
        DescriptorsExhausted("x"),
    ):
        metrics(event)
    text = metrics.render()[0].decode()
    for line in (
        "dodo_cio_http_connections 7.0",
        "dodo_cio_http_connections_limit 1000.0",
        'dodo_cio_http_connections_ended_total{reason="evicted"} 2.0',
        "dodo_cio_http_accept_failures_total 1.0",
    ):
        assert f"\n{line}\n" in text
