"""What the series of the state show, without a broker."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from faust.types import TP

from pipeline.observers import tell
from pipeline.settings import Settings
from pipeline.statestore import partitions as partitions_module
from pipeline.statestore.events import RestoreAdvanced
from pipeline.statestore.metrics import observe_state
from pipeline.statestore.partitions import PartitionStores
from pipeline.statestore.restore import Restore
from pipeline.transform.customers.schema import CUSTOMERS, KINDS
from pipeline.watch.metrics import Metrics


def remaining(metrics: Metrics) -> float | None:
    """What a restore has before it, as a scrape shows it."""
    return metrics.registry.get_sample_value("dodo_cio_restore_remaining_records")


async def test_a_restore_that_is_called_off_has_nothing_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The partitions may be another worker's from then on, and no restore of this one may ever follow."""
    metrics, advanced = Metrics("transform"), asyncio.Event()
    observe_state(metrics, KINDS)

    async def run(restore: Restore, *_: Any) -> None:
        restore._tell(RestoreAdvanced("dodo.customers", 0, 500, 1_234_567))
        advanced.set()
        await asyncio.Event().wait()

    async def count(_: Settings) -> int:
        return 1

    monkeypatch.setattr(Restore, "run", run)
    monkeypatch.setattr(partitions_module, "partitions_now", count)
    settings = Settings.load(data_dir=tmp_path)
    producer: Any = None
    stores = PartitionStores(settings, CUSTOMERS, producer, partial(tell, (metrics,)))
    await stores.start()
    restoring = asyncio.ensure_future(stores.restore({TP(settings.webhooks_topic, 0)}, 1))
    await advanced.wait()
    assert remaining(metrics) == 1_234_567
    restoring.cancel()
    await asyncio.wait({restoring})
    assert remaining(metrics) == 0
    await stores.stop()
