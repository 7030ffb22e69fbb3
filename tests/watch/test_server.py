"""The health server lives inside somebody else's loop."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import AsyncIterator

import httpx
import pytest
from structlog.testing import capture_logs

from pipeline.errors import ConfigurationError
from pipeline.http.bind import bind
from pipeline.watch.health import Health
from pipeline.watch.metrics import Metrics
from pipeline.watch.server import HealthServer
from pipeline.watch.vitals import Verdict
from tests.asking import local_client


def health() -> Health:
    """A healthy process."""
    yes = Verdict(ok=True, reason="fine")
    return Health(Metrics("transform"), ready=lambda: yes, live=lambda: yes)


@contextlib.asynccontextmanager
async def serving(server: HealthServer) -> AsyncIterator[httpx.AsyncClient]:
    """`server` between start and stop, with a client of it."""
    await server.start()
    try:
        async with local_client(f"http://127.0.0.1:{server.bound_port}") as client:
            yield client
    finally:
        await server.stop()


async def test_answers_and_closes() -> None:
    """It answers from start to stop, on any free port when asked for 0, says which, and gives the port back."""
    with capture_logs() as lines:
        async with serving(HealthServer("127.0.0.1", 0, health())) as client:
            port = client.base_url.port
            assert port
            assert (await client.get("/ready")).json() == {"ready": True, "reason": "fine"}
    assert [line for line in lines if line["event"] == "health listening"] == [
        {"event": "health listening", "host": "127.0.0.1", "port": port, "log_level": "info"}
    ]
    bind("127.0.0.1", port).close()


@pytest.mark.parametrize("host", ["a..b", "\u2603" * 70, "caf\udce9", "192.0.2.1"])
def test_an_address_that_cannot_be_had(host: str) -> None:
    """The setting is named, whether the name is none or another machine's, and no socket is left open."""
    with pytest.raises(ConfigurationError, match=r"cannot listen on .*PIPELINE_HOST"):
        bind(host, 0)


async def test_signals_stay_with_the_worker() -> None:
    """Neither start nor stop touches a signal handler: SIGTERM belongs to the worker."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    async with serving(HealthServer("127.0.0.1", 0, health())):
        assert {number: signal.getsignal(number) for number in before} == before
    assert {number: signal.getsignal(number) for number in before} == before


async def test_idle_connections_do_not_hold_the_stop() -> None:
    """A prober that keeps its connection open cannot keep the worker from ending."""
    server = HealthServer("127.0.0.1", 0, health())
    await server.start()
    async with local_client(f"http://127.0.0.1:{server.bound_port}") as client:
        await client.get("/live")
        async with asyncio.timeout(300):
            await server.stop()


async def test_stop_twice() -> None:
    """Stopping again, or without a start, does nothing."""
    server = HealthServer("127.0.0.1", 0, health())
    await server.stop()
    await server.start()
    await server.stop()
    await server.stop()


async def test_port_in_use() -> None:
    """A taken port is a configuration fault that names the setting, before anything else starts."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=rf"127\.0\.0\.1:{port}: another process .* PIPELINE_PORT"):
            await HealthServer("127.0.0.1", port, health()).start()


async def test_foreign_address() -> None:
    """An address of another machine is refused by the setting's name."""
    with pytest.raises(ConfigurationError, match=r"192\.0\.2\.1:0: .*PIPELINE_HOST"):
        await HealthServer("192.0.2.1", 0, health()).start()


async def test_beats_without_being_asked() -> None:
    """The verdicts are looked at in the background too, so a first question after an hour is answered rightly."""
    looked = asyncio.Event()

    def live() -> Verdict:
        looked.set()
        return Verdict(ok=True, reason="fine")

    server = HealthServer("127.0.0.1", 0, Health(Metrics("sink"), ready=live, live=live))
    await server.start()
    try:
        async with asyncio.timeout(300):
            await looked.wait()
    finally:
        await server.stop()


async def test_a_failing_look_is_reported() -> None:
    """A fault in the background look ends up in the log instead of vanishing with its task."""
    looked = asyncio.Event()

    def broken() -> Verdict:
        looked.set()
        raise RuntimeError("no coordinator")

    server = HealthServer("127.0.0.1", 0, Health(Metrics("sink"), ready=broken, live=broken))
    with capture_logs() as lines:
        await server.start()
        async with asyncio.timeout(300):
            await looked.wait()
        await server.stop()
    assert [line["event"] for line in lines if line["log_level"] == "error"] == ["A background task ended"]
