"""Which of a host's addresses is connected to."""

from __future__ import annotations

import asyncio
import socket
from typing import Any, Final

import pytest

from pipeline import dialing
from pipeline.kafka.local.ports import free_port
from tests.listening import listening

HOST: Final = "127.0.0.1"


async def _silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()


def resolving(monkeypatch: pytest.MonkeyPatch, *ports: int) -> None:
    """A resolver that knows one host, with an address for each port."""

    async def getaddrinfo(*_: Any, **__: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (HOST, port)) for port in ports]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)


async def test_the_next_address_follows_one_that_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    """At once."""
    async with listening(_silent) as port:
        resolving(monkeypatch, free_port(), port)
        one = await dialing.dialed("example.com", 443)
        assert one.getpeername() == (HOST, port)
        one.close()


async def test_the_next_address_follows_one_that_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a quarter of a second, and the silent one is given up."""
    given_up = asyncio.Event()
    loop = asyncio.get_running_loop()
    connect = loop.sock_connect

    async def sock_connect(one: socket.socket, place: Any) -> None:
        if place[1]:
            return await connect(one, place)
        try:
            never: asyncio.Future[None] = loop.create_future()
            return await never
        finally:
            given_up.set()

    monkeypatch.setattr(loop, "sock_connect", sock_connect)
    async with listening(_silent) as port:
        resolving(monkeypatch, 0, port)
        one = await dialing.dialed("example.com", 443)
        assert one.getpeername() == (HOST, port)
        one.close()
        await given_up.wait()


async def test_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the system, as for one address."""
    resolving(monkeypatch, free_port(), free_port())
    with pytest.raises(OSError, match=r"refused|Connect call failed"):
        await dialing.dialed("example.com", 443)


@pytest.mark.parametrize(("host", "family"), [("192.0.2.1", socket.AF_INET), ("2001:db8::1", socket.AF_INET6)])
async def test_an_address_is_not_looked_up(
    host: str, family: socket.AddressFamily, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A resolver that hangs takes no thread for it."""
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", None)
    assert [(one[0], one[-1]) for one in await dialing._addresses(host, 443)] == [(family, (host, 443))]
