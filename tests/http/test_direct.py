"""Requests that are answered without ASGI: told once what becomes of each, one a turn, and nothing stays behind."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from pipeline.http.bind import bind
from pipeline.http.body import (
    BodyError,
    BodyIncompleteError,
    BodyTooLargeError,
    ClientGoneError,
    OverloadedError,
)
from pipeline.http.limits import Limits
from pipeline.http.server import Server
from tests.http.attacks import head

PATH = "/take"
LIMIT = 1000
FIELDS = b"content-length: 2\r\n"


@dataclass
class Desk:
    """Takes requests; `at_once` says whether it answers a whole one before it returns."""

    at_once: bool = True
    error: Exception | None = None
    told: list[tuple[str, Any]] = field(default_factory=list)
    waiting: list[Any] = field(default_factory=list)
    turns: list[int] = field(default_factory=list)
    turn: int = 0

    def begin(self, exchange: Any) -> Any:
        """A head is there."""
        return Taken(self, exchange)

    def answer(self) -> None:
        """The request that has waited for longest."""
        self.waiting.pop(0).answer(200, FIELDS, b"{}", False)


@dataclass
class Taken:
    """One request."""

    desk: Desk
    exchange: Any

    def whole(self, body: bytes) -> None:
        """Its body."""
        self.desk.told.append(("whole", body))
        self.desk.turns.append(self.desk.turn)
        if self.desk.error is not None:
            raise self.desk.error
        if self.desk.at_once:
            self.exchange.answer(200, FIELDS, b"{}", False)
        else:
            self.desk.waiting.append(self.exchange)

    def failed(self, error: BodyError) -> None:
        """Why it has none."""
        self.desk.told.append(("failed", type(error)))
        if error.status is None:
            self.exchange.leave()
        else:
            self.exchange.answer(error.status, FIELDS, b"{}", True)

    def cancel(self) -> None:
        """The end."""
        self.desk.told.append(("cancel", None))
        self.exchange.answer(503, FIELDS, b"{}", True)


async def nothing(scope: Any, receive: Any, send: Any) -> None:  # noqa: ARG001 - ASGI's
    """The application of all other paths."""
    await send({"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


@contextlib.asynccontextmanager
async def serving(desk: Desk, connections: int = 100) -> AsyncIterator[Server]:
    """The desk at its path."""
    limits = Limits(body_bytes=LIMIT, connections=connections)
    server = Server(nothing, bind("127.0.0.1", 0), limits, directs={("POST", PATH): desk})
    server.start()
    yield server
    await server.stop(0.05)
    assert (server.requests, len(server.connections)) == (0, 0)
    assert (server.memory.held_bytes, server.memory.incoming_bytes) == (0, 0)


def posted(body: bytes = b"hello", path: str = PATH) -> bytes:
    """A request."""
    return head(path, f"content-length: {len(body)}") + body


def reset(writer: asyncio.StreamWriter) -> None:
    """Cut the connection; closing it would be a request that ends, whose answer may still be read."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    writer.transport.abort()


async def until(condition: Any) -> None:
    """Wait for what happens in this loop; the suite's timeout bounds it."""
    while not condition():  # noqa: ASYNC110 - the server has no event for it
        await asyncio.sleep(0)


def statuses(answer: bytes) -> list[int]:
    """Of the answers."""
    return [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]]


async def exchanged(server: Server, request: bytes) -> list[int]:
    """The answers to all that is written before the end is."""
    reader, writer = await asyncio.open_connection(*server.address)
    writer.write(request)
    writer.write_eof()
    said = await reader.read()
    writer.close()
    return statuses(said)


@pytest.mark.parametrize("at_once", [True, False], ids=["at once", "later"])
async def test_requests_behind_each_other_on_both_ways(at_once: bool) -> None:
    """Each is answered in order, whether its path has a desk or an application."""
    desk = Desk(at_once)
    async with serving(desk) as server:
        requests = posted(b"1") + posted(b"2") + posted(b"3", "/other") + posted(b"") + posted(b"5")
        answers = asyncio.create_task(exchanged(server, requests))
        while not answers.done():
            if desk.waiting:
                desk.answer()
            await asyncio.sleep(0)
        assert await answers == [200, 200, 404, 200, 200]
    assert desk.told == [("whole", body) for body in (b"1", b"2", b"", b"5")]


async def test_one_request_a_turn_of_the_loop() -> None:
    """Whoever writes hundreds of requests at once has them looked at one by one, with everybody's turns between."""
    desk = Desk()

    async def count() -> None:
        while True:
            desk.turn += 1
            await asyncio.sleep(0)

    async with serving(desk) as server:
        counting = asyncio.create_task(count())
        assert await exchanged(server, posted(b"x") * 300) == [200] * 300
        counting.cancel()
    assert all(before < after for before, after in zip(desk.turns, desk.turns[1:], strict=False))


@pytest.mark.parametrize(
    ("request_bytes", "error", "answers"),
    [
        (posted(b"hello")[:-1], BodyIncompleteError, [400]),
        (head(PATH, "transfer-encoding: chunked") + b"2\r\nhe", BodyIncompleteError, [400]),
        (head(PATH, "transfer-encoding: chunked") + b"zz\r\n", BodyIncompleteError, [400]),
        (posted(b"x" * (LIMIT + 1)), BodyTooLargeError, [413]),
        (head(PATH, "transfer-encoding: chunked") + b"ffff\r\n", BodyTooLargeError, [413]),
    ],
)
async def test_a_body_that_does_not_come(request_bytes: bytes, error: type[BodyError], answers: list[int]) -> None:
    """It is told why, once, and its answer is the connection's last."""
    desk = Desk()
    async with serving(desk) as server:
        assert await exchanged(server, request_bytes) == answers
    assert desk.told == [("failed", error)]


async def test_who_hangs_up_in_the_body_is_told_of() -> None:
    """Nothing is waited for, and nothing answered."""
    desk = Desk()
    async with serving(desk) as server:
        _, writer = await asyncio.open_connection(*server.address)
        writer.write(posted(b"hello")[:-1])
        await until(lambda: server.requests == 1)
        reset(writer)
        await until(lambda: not server.connections)
    assert desk.told == [("failed", ClientGoneError)]


async def test_who_hangs_up_behind_the_body_is_answered_into_nothing() -> None:
    """What was taken goes on; its answer finds nobody."""
    desk = Desk(at_once=False)
    async with serving(desk) as server:
        _, writer = await asyncio.open_connection(*server.address)
        writer.write(posted())
        await until(lambda: desk.waiting)
        reset(writer)
        await until(lambda: not server.connections)
        assert server.requests == 1
        desk.answer()
        assert server.requests == 0
    assert desk.told == [("whole", b"hello")]


@pytest.mark.parametrize("request_bytes", [posted(), posted()[:-1]], ids=["whole", "in its body"])
async def test_a_stop_that_cannot_wait(request_bytes: bytes) -> None:
    """It is told, and what it answers still leaves."""
    desk = Desk(at_once=False)
    async with serving(desk) as server:
        reader, writer = await asyncio.open_connection(*server.address)
        writer.write(request_bytes)
        await until(lambda: server.requests == 1 and (desk.waiting or request_bytes != posted()))
        await server.stop(0.01)
        assert statuses(await reader.read()) == [503]
        writer.close()
    assert desk.told[-1] == ("cancel", None)


@pytest.mark.parametrize("body", [b"hello", b""], ids=["body", "none"])
async def test_a_probe_finds_room_beside_requests_that_wait(body: bytes) -> None:
    """While each connection waits for its answer other paths are answered, and one more that would wait is told so.

    Kafka may be away, and many webhooks then wait; a probe that finds no room would have the process restarted.
    """
    desk = Desk(at_once=False)
    async with serving(desk, connections=16) as server:
        waiting: list[asyncio.Task[list[int]]] = []
        while len(waiting) < 16:
            waiting.append(asyncio.create_task(exchanged(server, posted())))
            await until(lambda: len(desk.waiting) == len(waiting))
        for _ in range(5):
            assert await exchanged(server, head("/other", method="GET")) == [404]
            assert await exchanged(server, posted(body)) == [503]
        assert desk.told[16:] == [("failed", OverloadedError)] * 5
        while desk.waiting:
            desk.answer()
        assert await asyncio.gather(*waiting) == [[200]] * 16


async def test_an_error_costs_its_own_request() -> None:
    """It is answered 500 and ends its connection; the next one is served."""
    desk = Desk(error=ZeroDivisionError())
    async with serving(desk) as server:
        assert await exchanged(server, posted() * 2) == [500]
        desk.error = None
        assert await exchanged(server, posted()) == [200]


async def test_a_request_is_answered_once() -> None:
    """A second answer would be the next request's."""
    desk = Desk(at_once=False)
    async with serving(desk) as server:
        reader, writer = await asyncio.open_connection(*server.address)
        writer.write(posted())
        await until(lambda: desk.waiting)
        [exchange] = desk.waiting
        desk.answer()
        with pytest.raises(RuntimeError, match="twice"):
            exchange.answer(200, FIELDS, b"{}", False)
        assert statuses(await reader.readuntil(b"{}")) == [200]
        writer.close()
