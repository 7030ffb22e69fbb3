"""What a hostile client does to one port of this machine: bounded in bytes and time."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from collections.abc import Callable
from typing import Final, Self

MIB: Final = 2**20
SECONDS: Final = 20.0
"""Most that one attack goes on; all end by their bytes, or because the server ends the connection."""


def connect(port: int, within_s: float = 30.0) -> socket.socket:
    """A new connection."""
    return socket.create_connection(("127.0.0.1", port), timeout=within_s)


def ask(port: int, path: str) -> int:
    """A good client's request on a connection of its own; its status."""
    with connect(port) as client:
        client.sendall(f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
        return int(client.recv(64)[9:12])


def pour(port: int, first: bytes, piece: bytes, total: int = 4 * MIB) -> bytes:
    """Write `first`, and `piece` over and over, reading what comes; all that came, cut to 64 kB."""
    said = b""
    began, sent = time.monotonic(), 0
    with connect(port) as client:
        try:
            client.sendall(first)
            client.setblocking(False)
            while sent < total and time.monotonic() - began < SECONDS:
                readable, writable, _ = select.select([client], [client], [], 1.0)
                if readable:
                    part = client.recv(2**16)
                    if not part:
                        break
                    said = (said + part)[: 2**16]
                if writable:
                    sent += client.send(piece)
            client.settimeout(1.0)
            while part := client.recv(2**16):
                said = (said + part)[: 2**16]
        except OSError:
            pass
    return said


def head(path: str, *lines: str, method: str = "POST") -> bytes:
    """A request's head."""
    return "\r\n".join([f"{method} {path} HTTP/1.1", "host: x", *lines, "", ""]).encode()


def trailer(port: int, path: str) -> bytes:
    """A chunked body whose trailer never ends."""
    begun = head(path, "transfer-encoding: chunked") + b"2\r\n{}\r\n0\r\n"
    return pour(port, begun, (b"x-%s: y\r\n" % (b"a" * 50)) * 1000)


def extension(port: int, path: str) -> bytes:
    """A chunk whose extension never ends."""
    return pour(port, head(path, "transfer-encoding: chunked") + b"2;", b"e" * 2**16)


def tiny_chunks(port: int, path: str) -> bytes:
    """A body in chunks of one byte."""
    return pour(port, head(path, "transfer-encoding: chunked"), b"1\r\nx\r\n" * 8192)


def pipelined(port: int, path: str) -> bytes:
    """Requests of 64 bytes behind each other, not waiting for answers."""
    begun = head(path, method="GET")[:-2]
    return pour(port, b"", (begun + b"a: " + b"b" * (64 - len(begun) - 7) + b"\r\n\r\n") * 1024, MIB // 4)


def unread(port: int, path: str) -> bytes:
    """The same, and no answer is read."""
    request, began, sent = head(path, method="GET") * 1000, time.monotonic(), 0
    with connect(port) as client:
        client.setblocking(False)
        while sent < MIB and time.monotonic() - began < 1.0:
            _, writable, _ = select.select([], [client], [], 0.1)
            if writable:
                sent += client.send(request)
    return b""


def target(port: int, path: str) -> bytes:
    """A target that never ends."""
    return pour(port, b"GET " + path.encode(), b"u" * 2**16)


def fields(port: int, path: str) -> bytes:
    """Header fields that never end."""
    return pour(port, head(path)[:-2], b"x: y\r\n" * 10_000)


def blank_lines(port: int, path: str) -> bytes:  # noqa: ARG001 - the others need one
    """Nothing but line ends."""
    return pour(port, b"", b"\r\n" * 32_768)


def large_body(port: int, path: str) -> bytes:
    """A body without an end or a length."""
    return pour(port, head(path, "transfer-encoding: chunked"), b"10000\r\n" + b"x" * 65_536 + b"\r\n", 12 * MIB)


ATTACKS: Final[tuple[Callable[[int, str], bytes], ...]] = (
    trailer, extension, tiny_chunks, pipelined, unread, target, fields, blank_lines, large_body,
)  # fmt: skip


def _habits_of(get: str, post: str) -> tuple[tuple[bytes, bytes], ...]:
    """Habits: what a hostile connection begins with, and what it adds again and again."""
    return (
        (b"", b""),
        (b"", b"\r\n"),
        (head(post)[:-4], b"x"),
        (head(post, "content-length: 10000") + b"x" * 5000, b"x"),
        (head(post, "transfer-encoding: chunked") + b"4000\r\n" + b"x" * 10_000, b"x"),
        (head(post, "transfer-encoding: chunked"), b"1\r\nx\r\n"),
        (head(get, method="GET"), b""),
    )


class Siege:
    """Many connections that each do what is slow or too much, from a thread, until the end of the block.

    One that the server ends is opened again. `busy` of them ask as fast as they can instead.
    """

    def __init__(self, port: int, get: str, post: str, connections: int, *, busy: int) -> None:
        habits = _habits_of(get, post)
        ask = head(get, method="GET") * 50
        self._port = port
        self._habits = [(ask, ask) if n < busy else habits[n % len(habits)] for n in range(connections)]
        self._open: list[socket.socket] = []
        self._end = threading.Event()
        self._round = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._open = [self._opened(opening) for opening, _ in self._habits]
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()
        for client in self._open:
            client.close()

    def next_round(self) -> None:
        """Wait until each connection has added something since now."""
        for _ in range(2):
            self._round.clear()
            assert self._round.wait(60)

    def _opened(self, opening: bytes) -> socket.socket:
        client = connect(self._port)
        client.setblocking(False)
        with contextlib.suppress(OSError):  # it made room for another one already
            client.send(opening)
        return client

    def _run(self) -> None:
        while not self._end.is_set():
            for number, (opening, more) in enumerate(self._habits):
                client = self._open[number]
                try:
                    while client.recv(2**16):
                        pass
                except BlockingIOError:
                    with contextlib.suppress(OSError):
                        client.send(more)
                    continue
                except OSError:
                    pass
                client.close()
                self._open[number] = self._opened(opening)
            self._round.set()
            self._end.wait(0.01)


def flood(port: int, first: bytes, piece: bytes, connections: int) -> list[socket.socket]:
    """Open connections that each write `first`, and `piece` over and over, until none of them gets any further.

    They stay open.
    """
    clients = [connect(port) for _ in range(connections)]
    ended, still, total = time.monotonic() + SECONDS, 0, 0
    waiting = {client: memoryview(first) for client in clients}
    for client in clients:
        client.setblocking(False)
    while waiting and still < 20 and time.monotonic() < ended:
        before = total
        for client, left in list(waiting.items()):
            try:
                sent = client.send(left)
            except BlockingIOError:
                continue
            except OSError:  # it was refused
                del waiting[client]
                continue
            total += sent
            waiting[client] = left[sent:] or memoryview(piece)
            if not waiting[client]:
                del waiting[client]
        still = 0 if total > before else still + 1
        time.sleep(0.01 if total == before else 0)
    return clients
