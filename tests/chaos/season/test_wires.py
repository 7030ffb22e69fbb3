"""A wire carries every byte both ways, and none while it is cut."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from pipeline.kafka.local.ports import free_port
from tests.chaos.season.wires import Wire

HOST = "127.0.0.1"


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Say everything back."""
    with contextlib.suppress(OSError):
        while chunk := await reader.read(1000):
            writer.write(chunk)
    writer.transport.abort()


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """Where somebody echoes."""
    server = await asyncio.start_server(echo, HOST, 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Connect = Callable[[int], Awaitable[Ends]]


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Opens connections; they are closed with the test."""
    writers: list[asyncio.StreamWriter] = []

    async def open_(port: int) -> Ends:
        ends = await asyncio.open_connection(HOST, port)
        writers.append(ends[1])
        return ends

    yield open_
    for writer in writers:
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def test_what_goes_in_comes_out(port: int, connect: Connect) -> None:
    """More than any buffer holds, in order; the end of one side ends the other."""
    async with Wire(HOST, outer := free_port(), port) as wire:
        reader, writer = await connect(outer)
        sent = bytes(range(256)) * 4000
        writer.write(sent)
        assert await reader.readexactly(len(sent)) == sent
        assert wire.open == 1
        writer.close()
        assert await reader.read() == b""


async def test_a_silent_cut_holds_everything_back_until_it_is_mended(port: int, connect: Connect) -> None:
    """Connections stay, new ones too, nothing arrives; then all does."""
    async with Wire(HOST, outer := free_port(), port) as wire:
        old = await connect(outer)
        old[1].write(b"before")
        assert await old[0].readexactly(6) == b"before"
        wire.cut(silent=True)
        new = await connect(outer)
        for _, writer in (old, new):
            writer.write(b"meanwhile")
        answers = [asyncio.create_task(reader.readexactly(9)) for reader, _ in (old, new)]
        assert not (await asyncio.wait(answers, timeout=0.2))[0]
        wire.mend()
        assert await asyncio.gather(*answers) == [b"meanwhile"] * 2


async def test_a_reset_ends_what_is_open_and_refuses_what_comes(port: int, connect: Connect) -> None:
    """Both at once, until it is mended."""
    async with Wire(HOST, outer := free_port(), port) as wire:
        reader, writer = await connect(outer)
        writer.write(b"before")
        assert await reader.readexactly(6) == b"before"
        wire.cut(silent=False)
        with pytest.raises(ConnectionResetError):
            await reader.read()
        reader, writer = await connect(outer)
        assert await ended(reader)
        wire.mend()
        reader, writer = await connect(outer)
        writer.write(b"after")
        assert await reader.readexactly(5) == b"after"


async def ended(reader: asyncio.StreamReader) -> bool:
    """Whether the other side has gone, with a reset or without."""
    try:
        return await reader.read() == b""
    except ConnectionResetError:
        return True
