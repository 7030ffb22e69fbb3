"""File descriptors that run out are told, and survived."""

from __future__ import annotations

import contextlib
import resource
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from pipeline.http.limits import affordable
from tests.http import attacks
from tests.http.attacks import connect

FEW = 30
"""File descriptors of a process without connections."""


def test_connections_without_descriptors(process: Any) -> None:
    """The process goes on, makes room by its idle connections, answers who asks, and counts what it could not take."""
    pid = process.process.pid
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    while len(used := {int(one.name) for one in Path(f"/proc/{pid}/fd").iterdir()}) > FEW:
        time.sleep(0.05)  # those of earlier tests are being closed
    free = [number for number in range(max(used) + 20) if number not in used]
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (free[7], before[1]))
    try:
        with contextlib.ExitStack() as open_ones:
            for _ in range(40):
                open_ones.enter_context(connect(process.port))
            assert attacks.ask(process.port, process.get) == 200
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
    assert attacks.ask(process.port, process.get) == 200
    if process.name != "sandbox":  # it has no metrics
        with connect(process.port) as client:
            client.sendall(attacks.head("/metrics", "connection: close", method="GET"))
            told = b"".join(iter(lambda: client.recv(2**16), b"")).decode()
        [line] = [line for line in told.splitlines() if line.startswith("dodo_cio_http_accept_failures_total ")]
        assert float(line.split()[1]) > 0


@pytest.mark.parametrize(
    ("soft", "wanted", "beside", "allowed"),
    [
        (1024, 1000, 0, 896),
        (1024, 1000, 100, 796),
        (1024, 100, 100, 100),
        (64, 1000, 100, 16),
        (resource.RLIM_INFINITY, 5000, 100, 5000),
    ],
)
def test_no_more_connections_than_descriptors(
    soft: int, wanted: int, beside: int, allowed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit leaves descriptors for brokers, files and the other port, whatever the setting says."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, soft))
    assert affordable(wanted, beside) == allowed


def test_a_socket_that_is_gone_again_harms_nothing(process: Any) -> None:
    """Connections that are reset before they are accepted are no fault of anything."""
    for _ in range(100):
        with contextlib.suppress(OSError), connect(process.port) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    assert attacks.ask(process.port, process.get) == 200
