"""The two ports of a local broker: chosen once, kept over restarts."""

from __future__ import annotations

import json
import random
import socket
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import BrokerUnreachableError

PORTS = range(20_000, 32_768)
"""Below Linux's ephemeral ports. Inside them, a client that retries a stopped broker can be given the broker's own
port as its source, connect to itself and hold the port against the restart."""


@dataclass(frozen=True, slots=True)
class Ports:
    """For clients, and for the controller beside the broker."""

    clients: int
    controller: int


_given: set[int] = set()


def free_port() -> int:
    """A TCP port on loopback that nothing listens on now, outside the ephemeral range.

    Not one that this process was given before: that one may be about to be listened on.
    """
    for _ in range(200):
        if len(_given) >= len(PORTS) // 2:
            _given.clear()
        port = random.choice(PORTS)  # noqa: S311 - no secret
        if port not in _given and is_free(port):
            _given.add(port)
            return port
    raise BrokerUnreachableError(f"no free port on 127.0.0.1 between {PORTS.start} and {PORTS.stop}")


def is_free(port: int) -> bool:
    """Whether `port` on loopback can be listened on."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as Java does: TIME_WAIT is no obstacle
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def choose(directory: Path, port: int | None) -> Ports:
    """`port`, or else the last run's where that is free, or any free one; and the controller's, kept as it was."""
    file = directory / "ports.json"
    last = json.loads(file.read_text(encoding="ascii")) if file.exists() else {}
    clients = port or last.get("clients") or free_port()
    if not port and not is_free(clients):
        clients = free_port()
    controller = last.get("controller") or free_port()
    while controller == clients:
        controller = free_port()
    file.write_text(json.dumps({"clients": clients, "controller": controller}), encoding="ascii")
    return Ports(clients, controller)
