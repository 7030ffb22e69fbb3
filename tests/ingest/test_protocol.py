"""The real HTTP server: raw bytes on a socket, honest and not."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from pipeline.dodo import samples
from pipeline.http import connection
from pipeline.http.limits import HEAD_BYTES
from pipeline.ingest import PATH
from pipeline.ingest.records import MAX_BODY_BYTES
from tests.asking import local_client

BODY = samples.load("payment.succeeded")

Signed = Callable[..., dict[str, str]]


def _head(headers: dict[str, str], *lines: str, method: str = "POST", version: str = "1.1") -> bytes:
    written = [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([f"{method} {PATH} HTTP/{version}", "host: x", *written, *lines, "", ""]).encode()


def _statuses(answer: bytes) -> list[int]:
    return [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]]


def _chunked(body: bytes, size: int) -> bytes:
    parts = [body[n : n + size] for n in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


async def test_a_genuine_request_is_200(served: Any, exchange: Any, signed: Signed) -> None:
    """With a plain length, `200 {}` comes back and the bytes are stored."""
    head = _head(signed(BODY), f"content-length: {len(BODY)}", "connection: close")
    answer = await exchange(served.address, head + BODY)
    assert _statuses(answer) == [200]
    assert answer.endswith(b"\r\n\r\n{}")
    assert served.store.records[0][1].value == BODY


async def test_a_chunked_body_is_the_same(served: Any, exchange: Any, signed: Signed) -> None:
    """A body without a length arrives whole."""
    head = _head(signed(BODY), "transfer-encoding: chunked", "connection: close")
    assert _statuses(await exchange(served.address, head, _chunked(BODY, 100))) == [200]
    assert served.store.records[0][1].value == BODY


async def test_requests_in_one_connection_are_answered_in_order(served: Any, exchange: Any, signed: Signed) -> None:
    """Pipelined requests are each answered and stored, in order."""
    one = _head(signed(BODY, webhook_id="msg_1"), f"content-length: {len(BODY)}") + BODY
    two = _head(signed(BODY, webhook_id="msg_2"), f"content-length: {len(BODY)}", "connection: close") + BODY
    assert _statuses(await exchange(served.address, one + two)) == [200, 200]
    assert [dict(record.headers)["webhook-id"] for _, record in served.store.records] == [b"msg_1", b"msg_2"]


async def test_an_old_client_is_served(served: Any, exchange: Any, signed: Signed) -> None:
    """HTTP/1.0 without keep-alive is answered and closed."""
    head = _head(signed(BODY), f"content-length: {len(BODY)}", version="1.0")
    assert _statuses(await exchange(served.address, head + BODY)) == [200]


async def test_a_large_announced_body_is_refused_before_it_is_sent(served: Any, exchange: Any, signed: Signed) -> None:
    """A client that asks before sending (`Expect: 100-continue`) hears 413 at once."""
    head = _head(signed(b""), f"content-length: {MAX_BODY_BYTES + 1}", "expect: 100-continue")
    assert _statuses(await exchange(served.address, head)) == [413]


@pytest.mark.parametrize("chunked", [True, False])
async def test_a_large_body_hears_its_answer(chunked: bool, served: Any, signed: Signed) -> None:
    """A client that sends everything first still gets to read the 413."""
    body = b"x" * (3 * MAX_BODY_BYTES)

    async def parts() -> Any:
        yield body

    async with local_client() as client:
        url = f"http://127.0.0.1:{served.address[1]}{PATH}"
        answer = await client.post(url, content=parts() if chunked else body, headers=signed(body))
    assert answer.status_code == 413
    assert served.store.records == []


async def test_a_body_that_ends_early_is_400(served: Any, exchange: Any, signed: Signed) -> None:
    """A declared body that did not arrive is told so, and not that no signature fits; the next client is served."""
    head = _head(signed(BODY), f"content-length: {len(BODY)}")
    assert _statuses(await exchange(served.address, head + BODY[:50])) == [400]
    closing = _head(signed(BODY), f"content-length: {len(BODY)}", "connection: close")
    assert _statuses(await exchange(served.address, closing + BODY)) == [200]
    assert len(served.store.records) == 1


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET\r\n\r\n",
        b"\x00" * 100 + b"\r\n\r\n",
        b"POST " + PATH.encode() + b" HTTP/9.9\r\n\r\n",
        b"POST " + PATH.encode() + b" HTTP/1.1\r\nwebhook-id\r\n\r\n",
        b"POST " + PATH.encode() + b" HTTP/1.1\r\ncontent-length: -5\r\n\r\n",
        b"POST " + PATH.encode() + b" HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        b"POST " + PATH.encode() + b" HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST " + PATH.encode() + b" HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"POST "
        + PATH.encode()
        + b" HTTP/1.1\r\nconnection: upgrade\r\nupgrade: websocket\r\ncontent-length: 2\r\n\r\nhi",
        b"POST " + PATH.encode() + b" HTTP/1.1\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n",
        b"POST " + PATH.encode() + b"\xff%zz%00 HTTP/1.1\r\nconnection: close\r\n\r\n",
        b"POST "
        + PATH.encode()
        + b" HTTP/1.1\r\nconnection: close\r\nwebhook-id: \xff\xfe\r\nwebhook-signature: v1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
async def test_garbage_is_never_5xx(garbage: bytes, served: Any, exchange: Any, signed: Signed) -> None:
    """Bytes that are no request get 4xx or a closed connection, and the next client is served."""
    answer = await exchange(served.address, garbage)
    assert all(400 <= status < 500 for status in _statuses(answer))
    closing = _head(signed(BODY), f"content-length: {len(BODY)}", "connection: close")
    assert _statuses(await exchange(served.address, closing + BODY)) == [200]


@pytest.mark.parametrize("line", [b"x-{n}: %s\r\n" % (b"y" * 1000), b"y" * 1000])
async def test_a_head_without_end_is_cut_off(line: bytes, served: Any) -> None:
    """Headers beyond the bound, many or one, end the connection; memory does not grow with them."""
    reader, writer = await asyncio.open_connection(*served.address)
    writer.write(b"POST " + PATH.encode() + b" HTTP/1.1\r\nx: ")
    sent = 0
    try:
        while sent < 100 * HEAD_BYTES:
            writer.write(line)
            await writer.drain()
            await asyncio.sleep(0)
            sent += len(line)
    except ConnectionError:
        pass
    assert sent < 100 * HEAD_BYTES
    writer.close()
    del reader


@pytest.mark.parametrize("fillers", [["x: " + "y" * 100_000], ["x: " + "y" * 1000] * 33, ["x: y"] * 200])
async def test_a_large_head_in_one_write(fillers: list[str], served: Any, exchange: Any, signed: Signed) -> None:
    """A whole and genuine request is refused for the bytes and the fields of its head, however it arrives."""
    head = _head(signed(BODY), *fillers, f"content-length: {len(BODY)}")
    assert _statuses(await exchange(served.address, head + BODY)) == [431]
    assert served.store.records == []


async def test_a_large_head_within_the_bound_is_served(served: Any, exchange: Any, signed: Signed) -> None:
    """Thirty kilobytes of headers beside a body of half a megabyte, in any packets, are no offence."""
    body = b'{"type":"a.b","data":{}}' + b" " * 500_000
    fillers = [f"x-{number}: {'y' * 1000}" for number in range(30)]
    request = _head(signed(body), *fillers, f"content-length: {len(body)}", "connection: close") + body
    cuts = [request[n : n + 7000] for n in range(0, len(request), 7000)]
    assert _statuses(await exchange(served.address, *cuts)) == [200]


@pytest.mark.parametrize("begun", [b"", b"POST " + PATH.encode() + b" HTTP/1.1\r\nho"])
async def test_a_head_that_never_comes_is_not_waited_for(
    begun: bytes, served: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that stops in its head hears 408 and is closed, one that says nothing is closed."""
    monkeypatch.setattr(connection, "HEAD_WITHIN_S", 0.05)
    if not begun:
        served.server.limits = dataclasses.replace(served.server.limits, idle_s=0.05)
    reader, writer = await asyncio.open_connection(*served.address)
    writer.write(begun)
    async with asyncio.timeout(300):
        assert _statuses(await reader.read()) == ([408] if begun else [])
    writer.close()


async def test_many_at_once_are_each_stored(served: Any, signed: Signed) -> None:
    """Two hundred concurrent requests over forty connections are each answered and stored once."""
    limits = httpx.Limits(max_connections=40)
    async with local_client(limits=limits) as client:
        url = f"http://127.0.0.1:{served.address[1]}{PATH}"
        ids = [f"msg_{number}" for number in range(200)]
        answers = await asyncio.gather(
            *(client.post(url, content=BODY, headers=signed(BODY, webhook_id=webhook_id)) for webhook_id in ids)
        )
    assert {answer.status_code for answer in answers} == {200}
    stored = [dict(record.headers)["webhook-id"].decode() for _, record in served.store.records]
    assert sorted(stored) == sorted(ids)
