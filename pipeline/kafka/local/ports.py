"""The two ports of a local broker: chosen once, kept over restarts."""

from __future__ import annotations

import json
import os
import random
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pipeline.errors import BrokerUnreachableError

PORTS: Final = range(20_000, 32_768)
"""Below Linux's ephemeral ports. Inside them, a client that retries a stopped broker can be given the broker's own
port as its source, connect to itself and hold the port against the restart."""


@dataclass(frozen=True, slots=True)
class Ports:
    """For clients, and for the controller beside the broker."""

    clients: int
    controller: int


SLICE: Final = 64
"""Ports that a process takes at a time: few for the demo, and enough slices for every process of two test runs."""

SLICES_AT_MOST: Final = 8
"""Of one process. One that needs more over its life is given again what it was given first, where that is free."""


class Lease:
    """Ports of this process, which no other one is given as long as it lives: also not while nobody listens there.

    A broker that was killed is away for seconds, and its clients expect it where it was. So that no other process is
    given its port meanwhile, each takes slices of `PORTS` for itself. A slice is whose process has its first port
    bound, which the system gives up when the process ends, however it ends.
    """

    def __init__(self) -> None:
        self.process = os.getpid()
        self._slices: list[range] = []
        self._left: list[int] = []

    def port(self) -> int:
        """A port on which nobody listens now; the same one again only after all others.

        Raises:
            BrokerUnreachableError: other processes have all slices, or other programs listen on all ports of ours.
        """
        while self._left or self._take_slice():
            if is_free(port := self._left.pop()):
                return port
        self._left = [port for own in reversed(self._slices) for port in reversed(own[1:])]
        while self._left:
            if is_free(port := self._left.pop()):
                return port
        raise BrokerUnreachableError(f"no free port on 127.0.0.1 between {PORTS.start} and {PORTS.stop}")

    def _take_slice(self) -> bool:
        if len(self._slices) == SLICES_AT_MOST:
            return False
        slices = [PORTS[start : start + SLICE] for start in range(0, len(PORTS), SLICE)]
        random.shuffle(slices)
        for taken in slices:
            with socket.socket() as lock:
                try:
                    lock.bind(("127.0.0.1", taken[0]))
                except OSError:
                    continue
                lock.detach()  # stays bound until the process ends
            self._slices.append(taken)
            self._left = list(reversed(taken[1:]))
            return True
        return False


_lease = Lease()


def free_port() -> int:
    """A TCP port on loopback where nobody listens now, outside the ephemeral range, for this process alone (`Lease`).

    Raises:
        BrokerUnreachableError: there is none.
    """
    global _lease  # noqa: PLW0603 - one for each process: a forked one has none of its parent's
    if _lease.process != os.getpid():
        _lease = Lease()
    return _lease.port()


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
