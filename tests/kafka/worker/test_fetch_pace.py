"""Fetches keep their distance while a little comes again and again, and none of it waits longer than that."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Final

import pytest
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.metadata import MetadataRequest

from pipeline.kafka.worker.app import FETCH_PAUSE_S, BatchApp
from pipeline.kafka.worker.fetch_pace import MUCH_BYTES, pace
from pipeline.settings import Settings
from pipeline.sink.worker import FETCH_LEAD_S, create_app
from pipeline.sink.worker import FETCH_PAUSE_S as SINKS_PAUSE_S
from tests.virtual import run_virtual

FETCH: Final = FetchRequest(1, 1, 1, 0, [], rack_id="")
PAUSE_S: Final = 0.005


class Broker:
    """Answers fetches at once, with the sizes that a test gives, and notes when they came."""

    def __init__(self, *sizes: int) -> None:
        self._sizes = iter(sizes)
        self.asked_at: list[float] = []

    async def send(self, _node: int, _request: Any, **_options: Any) -> Any:
        """One partition with so many bytes, and one with nothing."""
        self.asked_at.append(asyncio.get_running_loop().time())
        size = next(self._sizes)
        return SimpleNamespace(topics=[("t", [(0, 0, 7, b"x" * size), (1, 0, 9, None)])])


def fetched(broker: Broker, *, nodes: tuple[int, ...], request: Any = FETCH, idle_s: float = 0.0) -> list[float]:
    """When the requests to these nodes, one after the other, came to the brokers."""

    async def scenario() -> list[float]:
        client: Any = SimpleNamespace(send=broker.send)
        pace(client, lambda answered_at: answered_at + PAUSE_S)
        for node in nodes:
            await client.send(node, request)
            await asyncio.sleep(idle_s)
        return broker.asked_at

    return run_virtual(scenario())


def test_what_comes_within_a_moment_is_fetched_together() -> None:
    """After an answer with a little in it, the next fetch leaves a moment later."""
    assert fetched(Broker(10, 10, 10), nodes=(1, 1, 1)) == pytest.approx([0.0, PAUSE_S, 2 * PAUSE_S], abs=1e-4)


@pytest.mark.parametrize(
    ("sizes", "request_of"),
    [((0, 0), FETCH), ((MUCH_BYTES, MUCH_BYTES), FETCH), ((10, 10), MetadataRequest([]))],
    ids=["silence", "a backlog", "another request"],
)
def test_nothing_else_waits(sizes: tuple[int, int], request_of: Any) -> None:
    """Not what waits at the broker for the next record, not what brings much, not what fetches nothing."""
    assert fetched(Broker(*sizes), nodes=(1, 1), request=request_of) == pytest.approx([0.0, 0.0], abs=1e-4)


def test_a_record_that_comes_alone_is_not_delayed() -> None:
    """Longer after the last answer than the pause, a fetch leaves at once."""
    assert fetched(Broker(10, 10), nodes=(1, 1), idle_s=1.0) == pytest.approx([0.0, 1.0], abs=1e-4)


def test_each_broker_has_its_own_pace() -> None:
    """What one broker brought delays no fetch from another."""
    assert fetched(Broker(10, 10), nodes=(1, 2)) == pytest.approx([0.0, 0.0], abs=1e-4)


def test_a_fetch_that_waits_can_be_cancelled() -> None:
    """Partitions that go are not waited for: nothing is asked any more."""

    async def scenario() -> int:
        broker = Broker(10)
        client: Any = SimpleNamespace(send=broker.send)
        pace(client, lambda answered_at: answered_at + 60.0)
        await client.send(1, FETCH)
        waiting = asyncio.ensure_future(client.send(1, FETCH))
        await asyncio.sleep(1.0)
        waiting.cancel()
        await asyncio.wait({waiting})
        return len(broker.asked_at)

    assert run_virtual(scenario()) == 1


async def test_a_worker_s_consumer_keeps_the_pace_of_its_stage() -> None:
    """Faust makes the consumer: what the stage says of pauses reaches its client, whenever it is said."""
    app: Any = BatchApp("paced", settings=Settings.load(), batch_topics=["t"], stage="transform")
    assert app.fetch_pause(7.0) == 7.0 + FETCH_PAUSE_S
    asked: list[float] = []

    def never(answered_at: float) -> float:
        asked.append(answered_at)
        return 0.0

    app.fetch_pause = never
    consumer = app.consumer._thread._create_worker_consumer(app.transport)
    try:
        paced: Callable[..., Any] = consumer._client.send
        paced.__self__._send = Broker(10, 10).send  # type: ignore[attr-defined]
        await consumer._client.send(1, FETCH)
        await consumer._client.send(1, FETCH)
        assert len(asked) == 1
    finally:
        await consumer.stop()


def test_a_sink_fetches_for_the_next_turn() -> None:
    """Operations that cannot leave yet need not be there yet; a turn that is far away is not waited for."""
    app = create_app(Settings.load(customerio_site_id="site", customerio_api_key="key"))
    sink: Any = app.fetch_pause.__self__.sink  # type: ignore[attr-defined]
    assert app.fetch_pause(7.0) < 7.0
    sink.budget.next_due = 7.008
    assert app.fetch_pause(7.0) == pytest.approx(7.008 - FETCH_LEAD_S)
    sink.budget.next_due = 60.0
    assert app.fetch_pause(7.0) == 7.0 + SINKS_PAUSE_S
