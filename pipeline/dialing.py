"""A connected socket to the first address of a host that answers: no broken family of addresses delays a request."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections import deque
from collections.abc import Iterable
from typing import Any, Final

NEXT_ADDRESS_S: Final = 0.25
"""After which the next address of a host is tried beside those before it (RFC 8305, section 5)."""

Address = tuple[Any, ...]
"""As `getaddrinfo` tells it: family, type, protocol, name, and where."""

IPV6: Final = 6


async def dialed(host: str, port: int, local_address: str | None = None) -> socket.socket:
    """A socket that is connected to the host.

    Raises:
        OSError: none of its addresses can be reached, or the name is unknown.
    """
    return await _first(await _addresses(host, port), local_address)


async def _addresses(host: str, port: int) -> list[Address]:
    """Where the host is; the system is asked for names alone."""
    try:
        family = socket.AF_INET6 if ipaddress.ip_address(host).version == IPV6 else socket.AF_INET
    except ValueError:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return _by_turns(found)
    return [(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port))]


def _by_turns(found: Iterable[Address]) -> list[Address]:
    """The addresses, IPv6 and IPv4 by turns, beginning with the family that the system prefers (RFC 8305)."""
    families: dict[int, deque[Address]] = {}
    for one in found:
        families.setdefault(one[0], deque()).append(one)
    turns: list[Address] = []
    while families:
        for family in list(families):
            turns.append(families[family].popleft())
            if not families[family]:
                del families[family]
    return turns


async def _first(addresses: list[Address], local_address: str | None) -> socket.socket:
    """A socket to the first that answers; each is tried when the one before failed, or is slow.

    Raises:
        OSError: of the last that failed.
    """
    waiting = deque(addresses)
    trying: set[asyncio.Task[socket.socket]] = set()
    error: OSError = OSError("the host has no address")
    try:
        while waiting or trying:
            if waiting:
                trying.add(asyncio.ensure_future(_connected(waiting.popleft(), local_address)))
            done, trying = await asyncio.wait(
                trying, timeout=NEXT_ADDRESS_S if waiting else None, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                match task.exception():
                    case None:
                        trying |= done - {task}  # they are closed below
                        return task.result()
                    case OSError() as failed:
                        error = failed
                    case other:
                        raise other
    finally:
        for task in trying:
            task.add_done_callback(_close)
            task.cancel()
    raise error


def _close(task: asyncio.Task[socket.socket]) -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().close()


async def _connected(address: Address, local_address: str | None) -> socket.socket:
    family, kind, protocol, _, place = address
    one = socket.socket(family, kind, protocol)
    try:
        one.setblocking(False)
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if local_address is not None:
            one.bind((local_address, 0))
        await asyncio.get_running_loop().sock_connect(one, place)
    except BaseException:
        one.close()
        raise
    return one
