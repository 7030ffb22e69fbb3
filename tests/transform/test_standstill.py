"""What the transform tells its watch of itself: nothing that it does elsewhere hides a partition that stands still."""

from __future__ import annotations

from pathlib import Path

import pytest
from faust.types import TP

from pipeline.kafka.events import ChunkDelivered, ProduceStalled
from pipeline.settings import Settings
from pipeline.transform import worker
from pipeline.transform.enrichment import CustomerLookedUp, Enrichment
from pipeline.transform.policy import Policy
from pipeline.transform.product_lookups import ProductLookedUp, ProductLookups
from pipeline.transform.product_names import ProductNames
from pipeline.watch.worker import WorkerWatch

STANDING = TP("dodo.webhooks", 0)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """With a key to look things up at Dodo."""
    return Settings.load(dodo_api_key="key", data_dir=tmp_path)


def attempts(watch: WorkerWatch) -> int:
    """At the oldest record of the partition that stands still."""
    return watch.progress.place(STANDING).attempts


async def test_look_ups_hide_no_standstill(settings: Settings) -> None:
    """A chunk waits for its answers for seconds, so no partition needs them for a sign of life."""
    watch = WorkerWatch(worker.create_app(settings))
    watch.progress(ChunkDelivered(*STANDING, 0, 9, 10, 10, 1))
    enrichment = worker._enrichment(settings, Policy.of(settings), watch)
    lookups = worker._lookups(settings, ProductNames({}, settings.data_dir / "names"), watch)
    assert isinstance(enrichment, Enrichment)
    assert isinstance(lookups, ProductLookups)
    enrichment._observe(CustomerLookedUp("found"))
    lookups._observe(ProductLookedUp("found"))
    assert attempts(watch) == 0
    await enrichment.close()
    await lookups.close()


def test_a_stall_is_that_of_whoever_waits_for_it(settings: Settings) -> None:
    """Brokers that do not take records are a reason for those partitions alone whose records are on their way."""
    watch = WorkerWatch(worker.create_app(settings))
    held_up: list[set[TP] | None] = [{TP("dodo.webhooks", 1)}, {STANDING}, None]
    stalled = worker._stalled(watch, lambda: held_up.pop(0))
    counts = []
    while held_up:
        stalled(ProduceStalled("customerio.operations", 1, 30.0))
        counts.append(attempts(watch))
    assert counts == [0, 1, 2]
