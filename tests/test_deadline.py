"""A whole HTTP exchange ends in time, whatever the server does with its bytes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import httpx
import pytest

from pipeline.deadline import bounded, within
from tests.asking import local_client
from tests.listening import listening

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Server:
    """Answers `/ok` at once, and trickles headers for anything else until the connection is closed."""

    url: str

    def __init__(self) -> None:
        self.closed = asyncio.Event()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if b" /ok " in head:
                    writer.write(OK)
                    continue
                writer.write(b"HTTP/1.1 200 OK\r\nx: ")
                while True:
                    writer.write(b"x")
                    await writer.drain()
                    await asyncio.sleep(0.005)
        finally:
            self.closed.set()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """A listening server."""
    server = Server()
    async with listening(server.answer) as port:
        server.url = f"http://127.0.0.1:{port}"
        yield server


@contextlib.asynccontextmanager
async def client_of(server: Server) -> AsyncIterator[httpx.AsyncClient]:
    """A bounded client whose own time-outs never end anything here."""
    async with bounded(local_client(server.url)) as client:
        yield client


async def test_a_trickle_times_out(server: Server) -> None:
    """The request ends although each byte comes in time, and the pool closes its connection by itself."""
    async with client_of(server) as client:
        assert (await client.get("/ok")).text == "ok"  # to connect takes a time of its own, and another time-out
        with pytest.raises(httpx.ReadTimeout), within(1.0):
            await client.get("/trickle")
        await server.closed.wait()


async def test_each_exchange_has_its_own_end(server: Server) -> None:
    """Requests beside each other keep to their own limits; one that a kept connection serves after another as well."""
    async with client_of(server) as client:

        async def ask(seconds: float) -> float:
            began = asyncio.get_running_loop().time()
            with pytest.raises(httpx.ReadTimeout), within(seconds):
                await client.get("/trickle")
            return asyncio.get_running_loop().time() - began

        with within(30):
            assert (await client.get("/ok")).text == "ok"
        short, long = await asyncio.gather(ask(1.0), ask(2.0))
        assert (short >= 1.0, long >= 2.0) == (True, True)
        with within(30):
            assert (await client.get("/ok")).text == "ok"


async def test_nothing_is_bounded_outside(server: Server) -> None:
    """Without a limit the client is httpx's own, and a limit ends with its block."""
    async with client_of(server) as client:
        with within(0.0):
            pass
        assert (await client.get("/ok")).text == "ok"


async def test_a_time_that_is_over_sends_nothing(server: Server) -> None:
    """No connection is opened for an exchange that must have ended already."""
    async with client_of(server) as client:
        with pytest.raises(httpx.ConnectTimeout), within(0.0):
            await client.get("/ok")


async def test_transports_of_tests_stay_as_they_are() -> None:
    """A client without a network of httpx's own is left alone."""
    transport = httpx.MockTransport(lambda _: httpx.Response(200))
    async with bounded(httpx.AsyncClient(transport=transport)) as client:
        with within(30):
            assert (await client.get("http://example.com")).status_code == 200
