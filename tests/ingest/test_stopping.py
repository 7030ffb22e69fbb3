"""SIGTERM behind a load balancer: no webhook meets a closed port, and none that was taken goes without its answer."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import re
import signal
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from pipeline.dodo import samples
from pipeline.http.server import Server
from pipeline.ingest import PATH
from pipeline.ingest.app import create_app
from pipeline.ingest.server import Stopping, limits_of
from pipeline.settings import Settings

LIVE = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = samples.load("payment.succeeded")
NEVER_S = 10_000.0

Signed = Callable[..., dict[str, str]]


@pytest.fixture
def request_of(signed: Signed) -> Callable[[str], bytes]:
    """`request_of(id)`: the bytes of a genuine request on a keep-alive connection."""

    def build(webhook_id: str) -> bytes:
        fields = [f"{name}: {value}" for name, value in signed(BODY, webhook_id=webhook_id).items()]
        head = [f"POST {PATH} HTTP/1.1", "host: x", *fields, f"content-length: {len(BODY)}", "", ""]
        return "\r\n".join(head).encode() + BODY

    return build


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what happens in this loop; the suite's timeout bounds it."""
    while not condition():  # noqa: ASYNC110 - the server has no event for it
        await asyncio.sleep(0)


async def answer_of(reader: asyncio.StreamReader) -> bytes:
    """The head of one answer, whose body is `{}`."""
    head = await reader.readuntil(b"\r\n\r\n")
    await reader.readexactly(2)
    return head


async def drained(stopping: Stopping, server: Server, seconds: float = NEVER_S) -> None:
    """What the process does between its first request and its end."""
    await stopping.drained(seconds)
    await server.stop(300)


async def test_webhooks_are_taken_until_the_draining_ends(served: Any, request_of: Any) -> None:
    """After SIGTERM old and new connections are answered, each for the last time; after the end none opens."""
    old_reader, old_writer = await asyncio.open_connection(*served.address)
    old_writer.write(request_of("msg_0"))
    assert b"connection: close" not in await answer_of(old_reader)
    told = asyncio.Event()
    stopping = Stopping(served.server, told)
    end = asyncio.create_task(drained(stopping, served.server))
    told.set()
    await until(lambda: served.server.closing)
    for number, (reader, writer) in enumerate(
        [(old_reader, old_writer), await asyncio.open_connection(*served.address)], start=1
    ):
        writer.write(request_of(f"msg_{number}"))
        assert b"connection: close" in await answer_of(reader)
        assert await reader.read() == b""
        writer.close()
    assert not end.done()
    stopping.now()
    await end
    with pytest.raises(ConnectionError):
        await asyncio.open_connection(*served.address)
    assert len(served.store.records) == 3


async def test_idle_connections_end_with_the_draining_and_not_before(served: Any, request_of: Any) -> None:
    """A balancer's connection stays open while it may still send into it."""
    reader, writer = await asyncio.open_connection(*served.address)
    writer.write(request_of("msg_1"))
    await answer_of(reader)
    stopping = Stopping(served.server, asyncio.Event())
    end = asyncio.create_task(drained(stopping, served.server))
    stopping._told.set()
    await until(lambda: served.server.closing)
    assert not reader.at_eof()
    stopping.now()
    assert await reader.read() == b""
    await end
    writer.close()


async def test_requests_in_flight_are_answered_after_the_port_closed(served: Any, request_of: Any) -> None:
    """A webhook that waits for Kafka when the port closes gets its answer."""
    served.store.gate = asyncio.Event()
    reader, writer = await asyncio.open_connection(*served.address)
    writer.write(request_of("msg_1"))
    await until(lambda: served.endpoint.in_flight > 0)
    stopping = Stopping(served.server, asyncio.Event())
    end = asyncio.create_task(drained(stopping, served.server))
    stopping.now()
    await until(lambda: served.server._listener.fileno() < 0)
    with pytest.raises(ConnectionError):
        await asyncio.open_connection(*served.address)
    assert not end.done()
    served.store.gate.set()
    head = await answer_of(reader)
    assert head.startswith(b"HTTP/1.1 200")
    assert b"connection: close" in head
    await end
    writer.close()


async def test_what_cannot_be_waited_for_is_503(served: Any, request_of: Any) -> None:
    """Behind the grace a request that still waits is told to come again."""
    served.store.gate = asyncio.Event()
    reader, writer = await asyncio.open_connection(*served.address)
    writer.write(request_of("msg_1"))
    await until(lambda: served.endpoint.in_flight > 0)
    await served.server.stop(0.05)
    assert (await reader.read()).startswith(b"HTTP/1.1 503")
    writer.close()


async def test_readiness_fails_first() -> None:
    """`/ready` is 503 and says why from the first signal on, `/live` stays 200: a balancer leaves, nobody kills."""
    app = create_app(Settings.load(dodo_webhook_secrets=LIVE))
    app.state.stopping.set()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
        ready, live = await client.get("/ready"), await client.get("/live")
    assert ready.status_code == 503
    assert "stopping" in ready.json()["reason"]
    assert live.status_code == 200


@pytest.mark.parametrize(
    ("numbers", "drains"), [([signal.SIGTERM], True), ([signal.SIGTERM] * 2, False), ([signal.SIGINT], False)]
)
async def test_a_second_signal_or_a_person_does_not_wait(numbers: list[int], drains: bool, served: Any) -> None:
    """One SIGTERM drains; the second, and Ctrl-C, close the port at once."""
    stopping = Stopping(served.server, asyncio.Event())
    stopping.serving = True
    with stopping.by_signals():
        waiting = asyncio.create_task(stopping.drained(NEVER_S))
        for number in numbers:
            os.kill(os.getpid(), number)
            await asyncio.sleep(0.01)
        if drains:
            await stopping._told.wait()
            assert not waiting.done()
            stopping.now()
        await waiting
    assert served.server.closing


async def test_several_paths_and_a_prefix(ask: Any, signed: Signed) -> None:
    """Webhooks are taken at each path that the setting names, and at no other; a 404 names them."""
    settings = Settings.load(dodo_webhook_secrets=LIVE, webhook_paths="/webhooks/dodo, /shop/hooks/dodo")
    app = create_app(settings)
    for path in settings.webhook_paths:
        assert (await ask(app, signed(BODY), BODY, path=path)).status == 503  # there is no producer yet
    refused = await ask(app, signed(BODY), BODY, path="/hooks/dodo")
    assert refused.status == 404
    assert b"/webhooks/dodo or /shop/hooks/dodo" in refused.body


@pytest.mark.parametrize("paths", ["", "webhooks", "/a?b", "/a b", "/ready", "/a,/metrics", "http://x/y"])
def test_a_path_that_is_none(paths: str) -> None:
    """What is no path, or one that ingest needs itself, is refused by the setting's name."""
    with pytest.raises(Exception, match="PIPELINE_WEBHOOK_PATHS"):
        Settings.load(webhook_paths=paths or ",")


async def test_an_idle_connection_outlives_the_balancers(served: Any) -> None:
    """By default it is kept for longer than the 600 s of the largest clouds, and the setting says for how long."""
    assert limits_of(Settings.load()).idle_s > 600
    assert limits_of(Settings.load(keep_alive_seconds=3.5)).idle_s == 3.5
    served.server.limits = dataclasses.replace(served.server.limits, idle_s=3600)
    reader, writer = await asyncio.open_connection(*served.address)
    asked = served.server.now
    writer.write(b"GET /probe HTTP/1.1\r\nhost: x\r\n\r\n")
    head = await reader.readuntil(b"\r\n\r\n")
    await reader.readexactly(int(re.findall(rb"content-length: (\d+)", head)[0]))
    [connection] = served.server.connections
    assert connection.deadline >= asked + 3600
    writer.close()


async def test_proxy_headers_count_for_nothing(served: Any, request_of: Any) -> None:
    """Who the client says it is, or the proxy in front, changes neither an answer nor a record."""
    plain = request_of("msg_1").replace(b"host: x\r\n", b"host: x\r\nconnection: close\r\n")
    lies = b"x-forwarded-for: 192.0.2.1\r\nx-forwarded-proto: https\r\nx-forwarded-host: shop.example.com\r\n"
    lies += b"forwarded: for=192.0.2.1;proto=https\r\nx-original-url: /metrics\r\nx-http-method-override: GET\r\n"
    for request in (plain, plain.replace(b"host: x\r\n", b"host: x\r\n" + lies)):
        reader, writer = await asyncio.open_connection(*served.address)
        writer.write(request)
        assert (await reader.read()).startswith(b"HTTP/1.1 200")
        writer.close()
    (_, first), (_, second) = served.store.records
    assert (first.key, first.value, [h for h in first.headers if h[0] != "received-at"]) == (
        second.key,
        second.value,
        [h for h in second.headers if h[0] != "received-at"],
    )
