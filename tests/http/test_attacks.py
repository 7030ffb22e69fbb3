"""One hostile connection, or five hundred, cost nobody anything, on every port."""

from __future__ import annotations

import contextlib
import resource
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.http import attacks
from tests.http.attacks import connect, head

MEGABYTES = 50.0
HOSTILE = 500
TURN_S = 0.03
"""Processor time of a turn of the event loop that is short enough, whatever it is without an attack."""

ROUNDS = 20


@pytest.mark.parametrize("attack", attacks.ATTACKS, ids=lambda attack: attack.__name__)
def test_one_connection_takes_no_memory(attack: Callable[[int, str], bytes], process: Any) -> None:
    """Megabytes of whatever is endless are refused, and memory stays where it was; the next client is served."""
    path = process.get if attack in (attacks.pipelined, attacks.unread) else process.post
    process.forget_peak()
    said = attack(process.port, path)
    assert attacks.ask(process.port, process.get) == 200
    assert process.megabytes("VmHWM") - process.idle_megabytes < MEGABYTES
    statuses = {int(part[:3]) for part in said.split(b"HTTP/1.1 ")[1:]}
    expected = {200} if path == process.get and attack is attacks.pipelined else {400, 401, 404, 405, 413, 414, 431}
    assert statuses <= expected


@pytest.fixture
def descriptors() -> Iterator[None]:
    """Enough file descriptors for both ends' sockets."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, 4096), hard), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


BUSY = 5
"""Of them ask as fast as they can instead: what many clients ask at once is no attack, and takes its time."""


@pytest.mark.usefixtures("descriptors")
def test_five_hundred_connections_hold_up_nobody(process: Any) -> None:
    """While they do each what is slow or too much, good clients get in and get their answers.

    What they wait for is the event loop: by its processor time, which other work on the machine does not change.
    """
    with process.measured() as alone_s:
        for _ in range(ROUNDS):
            assert attacks.ask(process.port, process.get) == 200
    process.forget_peak()
    with attacks.Siege(process.port, process.get, process.post, HOSTILE, busy=BUSY) as siege:
        with process.measured() as beset_s:
            for _ in range(ROUNDS):
                siege.next_round()
                assert attacks.ask(process.port, process.get) == 200
        assert process.megabytes("VmHWM") - process.idle_megabytes < MEGABYTES
    assert beset_s[0] <= max(5 * alone_s[0], TURN_S)


@pytest.mark.usefixtures("descriptors")
@pytest.mark.parametrize(
    ("framing", "first", "piece"),
    [
        ("content-length: 60000", b"x" * 59_000, b""),
        ("transfer-encoding: chunked", b"", b"c350\r\n" + b"x" * 50_000 + b"\r\n"),
        ("transfer-encoding: chunked", b"c350\r\n" + b"x" * 50_000 + b"\r\nnot a size\r\n", b""),
    ],
    ids=["length", "chunked", "broken"],
)
def test_five_hundred_large_bodies_take_no_memory(framing: str, first: bytes, piece: bytes, process: Any) -> None:
    """Bodies that do not end, or go wrong, on many connections share what is given to all that is incomplete."""
    process.forget_peak()
    clients = attacks.flood(process.port, head(process.post, framing) + first, piece, HOSTILE)
    try:
        assert attacks.ask(process.port, process.get) == 200
    finally:
        for client in clients:
            client.close()
    assert attacks.ask(process.port, process.get) == 200
    assert process.megabytes("VmHWM") - process.idle_megabytes < MEGABYTES


def answered(client: socket.socket) -> int:
    """The status of the next answer; 0 when the connection ended instead."""
    with contextlib.suppress(ConnectionError):
        return int(client.recv(4096)[9:12] or b"0")
    return 0


@pytest.mark.usefixtures("descriptors")
def test_who_asks_finds_room_in_a_full_port(process: Any) -> None:
    """More connections than allowed, all silent: each new one is let in at the cost of the oldest that asked nothing.

    One that has been answered before stays, and is answered again.
    """
    limit = 100 if process.name in ("admin", "watch") else 1000
    with contextlib.ExitStack() as open_ones:
        proven = open_ones.enter_context(connect(process.port))
        proven.sendall(head(process.get, method="GET"))
        assert answered(proven) == 200
        for _ in range(limit + 50):
            open_ones.enter_context(connect(process.port))
        assert attacks.ask(process.port, process.get) == 200
        proven.sendall(head(process.get, method="GET"))
        assert answered(proven) == 200
