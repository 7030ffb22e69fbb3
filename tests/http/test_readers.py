"""Clients that ask and do not take the answers: no more is made for them than fits on the way."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from pipeline.http import connection, server
from pipeline.http.events import ConnectionEnded
from pipeline.http.limits import Limits
from pipeline.http.server import Server
from tests.http.attacks import head

ANSWER = b"x" * 500_000
REQUESTS = 200
REST_S = 0.3
"""Nothing moves any more when nothing has for so long."""


class App:
    """Answers a lot, in one piece or in ten; counts how often it was asked."""

    def __init__(self, pieces: int) -> None:
        self.asked = 0
        self._pieces = pieces

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ARG002 - ASGI's
        """Answer one request."""
        self.asked += 1
        length = [(b"content-length", b"%d" % (len(ANSWER) * self._pieces))]
        await send({"type": "http.response.start", "status": 200, "headers": length})
        for left in reversed(range(self._pieces)):
            await send({"type": "http.response.body", "body": ANSWER, "more_body": left > 0})


@contextlib.asynccontextmanager
async def serving(app: App, events: list[Any]) -> AsyncIterator[Server]:
    """The application on a free port."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)
    serves = Server(app, listener, Limits(body_bytes=1000, idle_s=3600), observers=[events.append])
    serves.start()
    yield serves
    await serves.stop(0)


async def comes_to_rest(app: App) -> None:
    """Wait until it is asked no more."""
    asked = -1
    while asked != app.asked:
        asked = app.asked
        await asyncio.sleep(REST_S)


@pytest.mark.parametrize("together", [True, False], ids=["behind each other", "one by one"])
async def test_no_more_is_answered_than_is_taken(together: bool) -> None:
    """Requests are not even read while answers wait: what a process holds for a client is one answer and a buffer."""
    app, events = App(1), list[Any]()
    async with serving(app, events) as serves:
        reader, writer = await asyncio.open_connection(*serves.address, limit=1000)
        for _ in range(1 if together else REQUESTS):
            writer.write(head("/", method="GET") * (REQUESTS if together else 1))
            await asyncio.sleep(0 if together else 0.001)
        await comes_to_rest(app)
        assert 0 < app.asked < REQUESTS / 2
        [one] = serves.connections
        assert one._transport.get_write_buffer_size() < 2 * len(ANSWER)
        del reader
        writer.transport.abort()


@pytest.mark.parametrize("pieces", [1, 10])
async def test_who_never_reads_is_let_go(pieces: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a while the connection is ended, also in the middle of an answer, and the application with it."""
    monkeypatch.setattr(connection, "SEND_WITHIN_S", 0.2)
    monkeypatch.setattr(server, "SWEEP_S", 0.02)
    app, events = App(pieces), list[Any]()
    async with serving(app, events) as serves:
        reader, writer = await asyncio.open_connection(*serves.address, limit=1000)
        writer.write(head("/", method="GET") * REQUESTS)
        while ConnectionEnded("late reader") not in events:  # noqa: ASYNC110 - events are a list
            await asyncio.sleep(0.01)
        while serves.connections or serves.requests:  # noqa: ASYNC110 - likewise
            await asyncio.sleep(0.01)
        del reader
        writer.transport.abort()
