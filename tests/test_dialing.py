"""Which of a host's addresses is connected to."""

from __future__ import annotations

import asyncio
import socket
from typing import Final

import pytest

from pipeline import dialing
from tests.listening import listening

HOST: Final = "127.0.0.1"


async def _silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()


def taken_and_given_up() -> int:
    """A port where nobody listens."""
    with socket.socket() as one:
        one.bind((HOST, 0))
        return int(one.getsockname()[1])


def addresses(*ports: int) -> list[dialing.Address]:
    """As `getaddrinfo` finds them."""
    return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (HOST, port)) for port in ports]


async def test_the_next_address_follows_one_that_refuses() -> None:
    """At once."""
    async with listening(_silent) as port:
        one = await dialing._first(addresses(taken_and_given_up(), port), None)
        assert one.getpeername() == (HOST, port)
        one.close()


async def test_the_next_address_follows_one_that_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a quarter of a second, and the silent one is given up."""
    given_up = asyncio.Event()
    connect = dialing._connected

    async def hang(address: dialing.Address, local: str | None) -> socket.socket:
        if address[-1][1]:
            return await connect(address, local)
        try:
            never: asyncio.Future[socket.socket] = asyncio.get_running_loop().create_future()
            return await never
        finally:
            given_up.set()

    monkeypatch.setattr(dialing, "_connected", hang)
    async with listening(_silent) as port:
        one = await dialing._first(addresses(0, port), None)
        assert one.getpeername() == (HOST, port)
        one.close()
        await given_up.wait()


@pytest.mark.parametrize(("host", "family"), [("192.0.2.1", socket.AF_INET), ("2001:db8::1", socket.AF_INET6)])
async def test_an_address_is_not_looked_up(
    host: str, family: socket.AddressFamily, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A resolver that hangs takes no thread for it."""
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", None)
    assert [(one[0], one[-1]) for one in await dialing._addresses(host, 443)] == [(family, (host, 443))]


def test_families_take_turns() -> None:
    """One broken family costs one attempt, not as many as it has addresses."""
    six, four = socket.AF_INET6, socket.AF_INET
    found = [(six, 1), (six, 2), (six, 3), (four, 4), (four, 5)]
    assert dialing._by_turns(found) == [(six, 1), (four, 4), (six, 2), (four, 5), (six, 3)]
