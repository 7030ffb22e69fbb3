"""A process that stood still, frozen or without a processor, blames no client for it."""

from __future__ import annotations

import socket
from types import SimpleNamespace
from typing import Any, cast

from pipeline.http.limits import SWEEP_S
from pipeline.http.server import Server
from pipeline.ingest.server import limits_of
from pipeline.settings import Settings


def test_time_in_which_nobody_was_heard_is_not_counted() -> None:
    """A connection has its whole time behind a standstill; while the process runs it ends when that is over."""
    clock = SimpleNamespace(now=1000.0)
    ended: list[float] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server: Any = Server(cast("Any", None), listener, limits_of(Settings.load()))
    server.loop = SimpleNamespace(time=lambda: clock.now)
    server.look()
    connection = SimpleNamespace(deadline=server.now + 5.0, late=lambda: ended.append(clock.now))
    server.connections = [connection]
    clock.now += 60
    server.look()
    assert ended == []
    while not ended:
        clock.now += SWEEP_S
        server.look()
    assert 1064.0 <= ended[0] <= 1065.5
