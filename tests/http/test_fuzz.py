"""Whatever bytes arrive on whatever port: 4xx or what the path says, never a 5xx but 503, and nothing stays behind."""

from __future__ import annotations

import contextlib
import errno
import re
import socket
import time

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.http.attacks import ask, connect
from tests.http.doors import Door

PATIENCE_S = 60.0

WORDS = (
    b"GET ", b"POST ", b"HEAD ", b"PRI * ", b"CONNECT x:1 ", b"/live ", b"/webhooks/dodo ", b"/api/v2/batch ",
    b"/%00%ff ", b"http://x/live ", b"* ", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"\r\n", b"\r\n\r\n", b"\n",
    b"\r", b":", b" ", b"\t", b"host: x\r\n", b"content-length: 5\r\n", b"content-length: 0\r\n",
    b"content-length: 99999999999999999999\r\n", b"content-length: -1\r\n", b"content-length: 900001\r\n",
    b"transfer-encoding: chunked\r\n", b"transfer-encoding: gzip\r\n", b"connection: close\r\n",
    b"connection: upgrade\r\nupgrade: h2c\r\n", b"expect: 100-continue\r\n", b"5\r\nhello\r\n", b"0\r\n\r\n",
    b"0\r\nx: y\r\n\r\n", b"ffffffffffffffff\r\n", b"5;x=y\r\n", b"hello", b"{}", b'{"batch":[]}',
    b"webhook-id: msg_1\r\nwebhook-timestamp: 1\r\nwebhook-signature: v1,AAAA\r\n", b"\x16\x03\x01",
    b"x: \xff\x00\r\n", b"accept: application/openmetrics-text\r\n", b"authorization: Basic \xff\r\n",
)  # fmt: skip

GOOD = (
    b"GET /live HTTP/1.1\r\nhost: x\r\n\r\n",
    b"POST /webhooks/dodo HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhello",
    b"POST /api/v2/batch HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx: y\r\n\r\n",
    b"GET /__sandbox/people?limit=1 HTTP/1.1\r\nhost: x\r\n\r\n",
    b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
)

words = st.lists(st.sampled_from(WORDS) | st.binary(max_size=12), max_size=14).map(b"".join)


@st.composite
def bent(draw: st.DrawFn) -> bytes:
    """Good requests behind each other, with some bytes taken out, put in or exchanged."""
    request = bytearray(b"".join(draw(st.lists(st.sampled_from(GOOD), min_size=1, max_size=3))))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(request)))
        request[at : at + draw(st.integers(0, 3))] = draw(st.sampled_from(WORDS) | st.binary(max_size=3))
    return bytes(request)


def exchange(port: int, parts: list[bytes]) -> bytes:
    """Write the parts, say that no more comes, and return all that came; it must end."""
    said = b""
    with connect(port, PATIENCE_S) as client, contextlib.suppress(ConnectionError):
        for part in parts:
            client.sendall(part)
        try:
            client.shutdown(socket.SHUT_WR)
        except OSError as error:  # no ConnectionError where the server has reset the connection already
            if error.errno != errno.ENOTCONN:
                raise
        while part := client.recv(2**16):
            said += part
    return said


def check(door: Door, request: bytes, cut: int) -> None:
    """One example."""
    said = exchange(door.port, [request[:cut], request[cut:]])
    statuses = [int(found) for found in re.findall(rb"^HTTP/1\.1 (\d{3})", said, re.MULTILINE)]
    assert all(status < 500 or status == 503 for status in statuses), said
    assert ask(door.port, door.get) == 200
    until = time.monotonic() + PATIENCE_S
    while door.server.connections and time.monotonic() < until:
        time.sleep(0.001)
    assert (len(door.server.connections), door.server.requests) == (0, 0)
    assert (door.server.memory.held_bytes, door.server.memory.incoming_bytes) == (0, 0)


@given(request_bytes=st.binary(max_size=300) | words | bent(), cut=st.integers(0, 60))
@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_raw_bytes(door: Door, request_bytes: bytes, cut: int) -> None:
    """Nothing answers 5xx but 503, the next client is served, and no connection, request or byte stays behind."""
    check(door, request_bytes, cut)
