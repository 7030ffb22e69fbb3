"""What a stage says of itself to the watch over it, without a broker."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

import httpx
import pytest
from faust.types import TP

from pipeline.kafka.events import ChunkAcknowledged, ChunkDelivered, RebalanceEnded
from pipeline.kafka.worker.app import BatchApp
from pipeline.settings import Settings
from pipeline.watch import worker
from pipeline.watch.worker import WorkerWatch

TOPIC = "customerio.operations"
ZERO, ONE, TWO = TP(TOPIC, 0), TP(TOPIC, 1), TP(TOPIC, 2)


class Coordinator:
    """Of a group that never changes."""

    generation = 1
    is_away = False

    def partitions_total(self, topic: str) -> int:
        """Three."""
        assert topic == TOPIC
        return 3


@pytest.fixture
def app(tmp_path: Path) -> BatchApp:
    """An app that owns three partitions."""
    app = BatchApp("group", settings=Settings.load(data_dir=tmp_path), batch_topics=[TOPIC], stage="sink")
    app.membership.attach(Coordinator())
    app.membership.resume(1, frozenset({ZERO, ONE, TWO}))
    return app


@pytest.fixture
def watch(app: BatchApp, monkeypatch: pytest.MonkeyPatch) -> WorkerWatch:
    """Its watch, which asks the stage at every look."""
    monkeypatch.setattr(worker, "ATTENDED_EVERY_S", 0.0)
    watch = WorkerWatch(app)
    app.tell(RebalanceEnded(1, frozenset({ZERO, ONE, TWO}), 0.1))
    return watch


def deliver(app: BatchApp, tp: TP, first: int, last: int) -> None:
    """Put a chunk before the stage."""
    app.tell(ChunkDelivered(tp.topic, tp.partition, first, last, last - first + 1, last + 1, 1))


def test_only_partitions_that_stand_still_are_asked_about(app: BatchApp, watch: WorkerWatch) -> None:
    """A stage is asked about those with records that did not move since the last look, and its word is an attempt."""
    asked: list[set[TP]] = []

    def attended(partitions: Collection[TP]) -> set[TP]:
        asked.append(set(partitions))
        return {ZERO}

    watch.attended = attended
    for tp in (ZERO, ONE):
        deliver(app, tp, 0, 99)
    watch.vitals()
    app.tell(ChunkAcknowledged(TOPIC, 1, 50, 1))
    watch.vitals()
    vitals = watch.vitals()
    assert asked == [{ZERO}, {ZERO, ONE}]
    assert [vitals.places[tp].attempts for tp in (ZERO, ONE, TWO)] == [2, 0, 0]
    assert vitals.attempts == 2


def test_a_stage_is_not_asked_all_the_time(app: BatchApp, watch: WorkerWatch, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every scrape is a look; the stage, which has to search for its answer, hears of few of them."""
    monkeypatch.setattr(worker, "ATTENDED_EVERY_S", 3600.0)

    def attended(_: Collection[TP]) -> set[TP]:
        raise AssertionError("asked")

    watch.attended = attended
    deliver(app, ZERO, 0, 99)
    for _ in range(100):
        watch.vitals()


async def test_a_hold_is_named_everywhere(app: BatchApp, watch: WorkerWatch) -> None:
    """While the stage holds its records back, `/ready`, `/live`, `/status` and the metrics say so, and `/ready` fails
    when somebody has to act."""  # noqa: D205, D209 - one promise
    app.membership.heartbeat()
    deliver(app, ZERO, 0, 99)
    transport = httpx.ASGITransport(app=watch.health.app())
    async with httpx.AsyncClient(transport=transport, base_url="http://probe") as client:
        watch.holding = lambda: "Customer.io takes nothing (503)"
        ready, live = await client.get("/ready"), await client.get("/live")
        assert (ready.status_code, live.status_code) == (200, 200)
        assert ready.json()["reason"] == "3 partitions assigned; held: Customer.io takes nothing (503)"
        told = r"held for \d+ s: Customer\.io takes nothing \(503\); 100 records wait"
        assert re.fullmatch(told, live.json()["reason"])
        watch.fault = lambda: "Customer.io refuses the credentials (401)"
        ready = await client.get("/ready")
        assert ready.status_code == 503
        assert ready.json()["reason"] == "held until somebody acts: Customer.io refuses the credentials (401)"
        status = (await client.get("/status")).json()
        assert (status["holding"], status["fault"]) == (watch.holding(), watch.fault())
        assert status["held_s"] > 0
        metrics = (await client.get("/metrics")).text
        (held,) = (line for line in metrics.splitlines() if line.startswith("dodo_cio_held_seconds "))
        assert float(held.split()[1]) > 0


async def test_status_has_every_partition(app: BatchApp, watch: WorkerWatch) -> None:
    """`/status` lists the assignment with the oldest record that is not finished, and how long it has been that."""
    deliver(app, ONE, 40, 99)
    app.tell(ChunkAcknowledged(TOPIC, 1, 50, 1))
    watch.progress.saw({TWO: 5})
    transport = httpx.ASGITransport(app=watch.health.app())
    async with httpx.AsyncClient(transport=transport, base_url="http://probe") as client:
        await client.get("/live")
        assignment = (await client.get("/status")).json()["assignment"]
    ages = [{name: one.pop(name) for name in ("unfinished_s", "commit_age_s", "still_s")} for one in assignment]
    assert assignment == [
        {
            "topic": TOPIC, "partition": 0, "delivered": None, "acknowledged": None, "committed": None, "unread": 0,
            "oldest_unfinished": None,
        },
        {
            "topic": TOPIC, "partition": 1, "delivered": 100, "acknowledged": 50, "committed": 40, "unread": 0,
            "oldest_unfinished": 50,
        },
        {
            "topic": TOPIC, "partition": 2, "delivered": None, "acknowledged": None, "committed": None, "unread": 5,
            "oldest_unfinished": None,
        },
    ]  # fmt: skip
    assert ages[0] == {"unfinished_s": 0.0, "commit_age_s": 0.0, "still_s": 0.0}
    assert all(age >= 0.0 for age in ages[1].values())
