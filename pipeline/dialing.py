"""A connected socket to the first address of a host that answers: no broken family of addresses delays a request."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Sequence
from typing import Final

from aiohappyeyeballs import AddrInfoType, start_connection

NEXT_ADDRESS_S: Final = 0.25
"""After which the next address of a host is tried beside those before it (RFC 8305, section 5)."""

IPV6: Final = 6


async def dialed(host: str, port: int) -> socket.socket:
    """A socket that is connected to the host.

    Raises:
        OSError: none of its addresses can be reached, or the name is unknown.
    """
    try:
        return await start_connection(await _addresses(host, port), happy_eyeballs_delay=NEXT_ADDRESS_S)
    except RuntimeError as error:  # of uvloop, where asyncio has an OSError
        raise OSError(str(error)) from error


async def _addresses(host: str, port: int) -> Sequence[AddrInfoType]:
    """Where the host is; the system is asked for names alone: its resolver takes a thread, and may hang."""
    try:
        family = socket.AF_INET6 if ipaddress.ip_address(host).version == IPV6 else socket.AF_INET
    except ValueError:
        return await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port))]
