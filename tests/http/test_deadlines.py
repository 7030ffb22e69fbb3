"""Each phase of a connection has one deadline, on every path and port, and nothing that a client sends moves it."""

from __future__ import annotations

import dataclasses
import select
import socket
import time
from collections.abc import Iterator

import pytest

from pipeline.http import connection, server
from tests.http.attacks import connect, head
from tests.http.doors import Door

SHORT_S = 0.2
PATIENCE_S = 60.0


@pytest.fixture(autouse=True)
def short(door: Door, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Deadlines of a fraction of a second, looked at often."""
    monkeypatch.setattr(connection, "HEAD_WITHIN_S", SHORT_S)
    monkeypatch.setattr(connection, "SEND_WITHIN_S", SHORT_S)
    monkeypatch.setattr(server, "SWEEP_S", 0.02)
    before = door.server.limits
    door.server.limits = dataclasses.replace(before, idle_s=SHORT_S, body_within_s=SHORT_S)
    yield
    door.server.limits = before


def until_closed(client: socket.socket, drip: bytes) -> list[int]:
    """Keep sending until the other side closes; the statuses that it said."""
    said, began = b"", time.monotonic()
    client.setblocking(False)
    while time.monotonic() - began < PATIENCE_S:
        if select.select([client], [], [], 0.05)[0]:
            try:
                part = client.recv(4096)
            except ConnectionError:
                break
            if not part:
                break
            said += part
        elif drip:
            try:
                client.send(drip)
            except OSError:
                break
    else:
        pytest.fail("it was never closed")
    return [int(part[:3]) for part in said.split(b"HTTP/1.1 ")[1:]]


@pytest.mark.parametrize("drip", [b"", b"x"], ids=["stopped", "trickled"])
def test_a_head(drip: bytes, door: Door) -> None:
    """A head that does not end is answered 408 (RFC 9110 §15.5.9)."""
    door.server.limits = dataclasses.replace(door.server.limits, idle_s=PATIENCE_S)  # until the head begins
    with connect(door.port) as client:
        client.sendall(b"GET / HTTP/1.1\r\nhost: x\r\nx: ")
        assert until_closed(client, drip) == [408]


@pytest.mark.parametrize("framing", ["content-length: 5000", "transfer-encoding: chunked"])
@pytest.mark.parametrize("drip", [b"", b"1\r\n"], ids=["stopped", "trickled"])
@pytest.mark.parametrize("path", ["post", "get", "nowhere"])
def test_a_body_on_any_path(path: str, drip: bytes, framing: str, door: Door) -> None:
    """A body that does not end holds its connection no longer than one on the webhook's path."""
    where = {"post": door.post, "get": door.get, "nowhere": "/nowhere"}[path]
    with connect(door.port) as client:
        client.sendall(head(where, framing) + b"1\r\n")
        statuses = until_closed(client, drip)
    assert all(400 <= status < 500 for status in statuses)


@pytest.mark.parametrize("drip", [b"", b"\r\n"], ids=["silent", "line ends"])
@pytest.mark.parametrize("asked", [False, True], ids=["never used", "after an answer"])
def test_idleness(asked: bool, drip: bytes, door: Door) -> None:
    """A connection that asks for nothing is closed without a word, line ends or not (RFC 9112 §2.2)."""
    short = door.server.limits
    if asked:  # it is open, and no idleness of before its last request counts
        door.server.limits = dataclasses.replace(short, idle_s=PATIENCE_S)
    with connect(door.port) as client:
        if asked:
            client.sendall(head(door.get, method="GET"))
            assert client.recv(2**16).startswith(b"HTTP/1.1 200")
            door.server.limits = short
            client.sendall(head(door.get, method="GET"))
        assert until_closed(client, drip) == ([200] if asked else [])


def test_a_connection_never_used_stays_as_long_as_a_used_one(door: Door) -> None:
    """A balancer may open one ahead, and send a request into it much later than a head may take."""
    door.server.limits = dataclasses.replace(door.server.limits, idle_s=PATIENCE_S)
    with connect(door.port) as client:
        assert select.select([client], [], [], 4 * SHORT_S)[0] == []
        client.sendall(head(door.get, method="GET"))
        assert client.recv(12) == b"HTTP/1.1 200"
