"""Binds listening sockets, or raises with the name of the setting to change."""

from __future__ import annotations

import errno
import socket
from typing import Final

from pipeline.errors import ConfigurationError

BACKLOG: Final = 2048
"""Connections that may wait to be accepted; Linux allows 4,096 by default (`net.core.somaxconn`)."""


def bind(host: str, port: int, *, shared: bool = False, setting: str = "PIPELINE_PORT") -> socket.socket:
    """A listening socket; `shared` with other processes of this user that bind it in the same way (SO_REUSEPORT).

    `setting` is the one that the port comes from, for the message.

    Raises:
        ConfigurationError: the port is taken, or the address is not one of this machine.
    """
    try:
        host.encode("idna")  # as the socket will, which a failure there would leave open
    except UnicodeError:
        raise ConfigurationError(f"cannot listen on {host!r}: PIPELINE_HOST is no name or address") from None
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=BACKLOG, reuse_port=shared)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            what = f"another process listens there: stop it, or give {setting} another port (0: any free one)"
        elif error.errno == errno.EACCES:
            what = f"this user may not: give {setting} a port above 1023"
        else:
            what = f"{error.strerror or type(error).__name__}: PIPELINE_HOST must be an address of this machine"
        raise ConfigurationError(f"cannot listen on {host}:{port}: {what}") from None


def reserve(host: str, port: int, *, setting: str = "PIPELINE_PORT") -> socket.socket:
    """A socket that reserves an address for listeners that share it, and accepts no connections itself.

    Raises:
        ConfigurationError: the port is taken, the address is not one of this machine, or the system cannot share ports.
    """
    if not hasattr(socket, "SO_REUSEPORT"):
        raise ConfigurationError(
            "PIPELINE_INGEST_WORKERS: this system has no SO_REUSEPORT, by which processes share a port: set it to 1, "
            "and run several ingests behind a balancer"
        )
    with bind(host, port, setting=setting) as alone:  # else a foreign listener that shares the port would go unnoticed
        port = alone.getsockname()[1]
    holder = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if holder.family == socket.AF_INET6:
        holder.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    holder.bind((host, port))
    return holder


def shown(host: str) -> str:
    """A host as it is written in a URL."""
    return f"[{host}]" if ":" in host else host
