"""What the customers' state costs: the same webhooks through a transform without it, with it, and with a recipe too."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from aiokafka import TopicPartition

from pipeline.kafka.cluster.admin import open_admin
from pipeline.settings import Settings
from tests.bench import stage
from tests.bench.figures import Figure, median, per
from tests.bench.plan import Run
from tests.bench.shop import ShopTraffic

PARTITIONS: Final = 4
TARGET: Final = 0.75

RECIPE: Final = Path(__file__).parents[1] / "data" / "recipes" / "track_payments.js"
WITH_A_RECIPE: Final = 5_000
"""Webhooks a second that one worker with the vendor's JavaScript is to take."""


@dataclass(frozen=True)
class Mapped:
    """What one transform did between its first commit and its last."""

    per_second: float
    cpu_us: float
    rss_mb: float


async def measure(run: Run) -> list[Figure]:
    """All in turn on the same webhooks; the medians count."""
    broker, directory, payments = run.broker, run.directory, run.sizes.payments
    source = await stage.topics(broker, directory, PARTITIONS)
    run.say(f"writing {payments:,} webhooks")
    await fill(source, payments)
    without: list[Mapped] = []
    with_: list[Mapped] = []
    recipe: list[Mapped] = []
    shaped: list[Mapped] = []
    contenders: tuple[tuple[list[Mapped], str, dict[str, Any]], ...] = (
        (without, "without a state", {"state": False}),
        (with_, "with a state", {"state": True}),
        (recipe, "with a recipe alone", {"state": False, "javascript": RECIPE}),
        (shaped, "with a state and a recipe", {"state": True, "javascript": RECIPE}),
    )
    for number in range(run.sizes.rounds):
        for found, name, given in contenders:
            run.say(f"round {number + 1}, {name}")
            group = f"{name.replace(' ', '-')}-{number}"
            fresh = await stage.topics(broker, directory, PARTITIONS, transform_group=group, **given)
            settings = fresh.model_copy(update={"webhooks_topic": source.webhooks_topic})
            found.append(await transformed(settings, directory, payments))
    ratio = _ratio(with_, without)
    cpu = median(per(bare.cpu_us, mine.cpu_us) for mine, bare in zip(with_, without, strict=True))
    return [
        Figure("state", "transform without a state, webhooks", median(one.per_second for one in without), "/s"),
        Figure("state", "transform with the state, webhooks", median(one.per_second for one in with_), "/s"),
        *(
            Figure("state", name, median(one.per_second for one in found), "/s", at_least=WITH_A_RECIPE)
            for found, name in (
                (recipe, "with a recipe and without a state, webhooks"),
                (shaped, "with the state and a recipe, webhooks"),
            )
        ),
        Figure("state", "with a recipe, of without one", _ratio(recipe, without), "x"),
        Figure("state", "with a recipe, of without one, both with the state", _ratio(shaped, with_), "x"),
        Figure("state", "with the state, of without", ratio, "x", at_least=TARGET),
        Figure("state", "without, processor time a webhook", median(one.cpu_us for one in without), "µs"),
        Figure("state", "with, processor time a webhook", median(one.cpu_us for one in with_), "µs"),
        Figure("state", "the same by processor time", cpu, "x"),
        Figure("state", "without, largest resident memory", max(one.rss_mb for one in without), "MB"),
        Figure("state", "with, largest resident memory", max(one.rss_mb for one in with_), "MB"),
    ]


def _ratio(mine: list[Mapped], bare: list[Mapped]) -> float:
    """Of the rates, of each round."""
    return median(per(one.per_second, other.per_second) for one, other in zip(mine, bare, strict=True))


async def fill(settings: Settings, payments: int) -> None:
    """Write the payments of a shop, eight of each customer."""
    traffic = ShopTraffic(payments).records(settings.webhooks_topic, PARTITIONS)
    records = ((one.key or b"", one.value or b"", list(one.headers)) for one in traffic)
    await stage.fill(settings.kafka_bootstrap_servers, settings.webhooks_topic, PARTITIONS, records)


async def transformed(settings: Settings, directory: Path, payments: int) -> Mapped:
    """What one transform does with them."""
    worker = stage.Process.stage(settings, directory, "transform")
    tps = [TopicPartition(settings.webhooks_topic, number) for number in range(PARTITIONS)]
    first: tuple[float, float, int] | None = None
    most = 0.0
    try:
        async with open_admin(settings) as admin, asyncio.timeout(stage.PATIENCE_S):
            while True:
                worker.check()
                committed = await admin.committed(settings.transform_group, tps)
                done = sum(offset or 0 for offset in committed.values())
                now, cpu_s = time.perf_counter(), worker.cpu_s()
                most = max(most, worker.rss_mb())
                if done and first is None:
                    first = (now, cpu_s, done)
                if done == payments and first is not None:
                    break
                await asyncio.sleep(0.02)
    finally:
        await worker.stop()
    webhooks = payments - first[2]
    return Mapped(per(webhooks, now - first[0]), per(1e6 * (cpu_s - first[1]), webhooks), most)
