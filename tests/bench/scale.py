"""How our transform's speed, with the real mapping, moves with workers, partitions and the size of a body."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Final

from tests.bench import stage
from tests.bench.figures import Figure
from tests.bench.payments import Payments
from tests.bench.plan import Run
from tests.bench.race import race
from tests.bench.transform import CONTENDERS


@dataclass(frozen=True, slots=True)
class Shape:
    """One arrangement; it differs from the first in one thing."""

    partitions: int = 4
    workers: int = 1
    padding_bytes: int = 0


SHAPES: Final = (Shape(), Shape(workers=2), Shape(partitions=1), Shape(partitions=12), Shape(padding_bytes=7_600))


async def measure(run: Run) -> list[Figure]:
    """Webhooks a second for each shape, the rounds interleaved."""
    sources = {}
    for partitions, padding_bytes in dict.fromkeys((shape.partitions, shape.padding_bytes) for shape in SHAPES):
        payments = Payments(padding_bytes)
        count = run.sizes.records if not padding_bytes else run.sizes.records // 4
        run.say(f"writing {count:,} webhooks of {payments.body_bytes:,} bytes into {partitions} partitions")
        settings = await stage.topics(run.broker, run.directory, partitions)
        servers, topic = settings.kafka_bootstrap_servers, settings.webhooks_topic
        await stage.fill(servers, topic, partitions, payments.records(count))
        sources[partitions, padding_bytes] = settings, count, payments.body_bytes
    rates: dict[Shape, list[float]] = defaultdict(list)
    for number in range(run.sizes.rounds):
        for shape in SHAPES:
            settings, count, size = sources[shape.partitions, shape.padding_bytes]
            result = await race(run, settings, CONTENDERS["ours-real"], count, workers=shape.workers)
            rates[shape].append(result.webhooks_per_second)
            run.say(
                f"round {number + 1} of {run.sizes.rounds}: {shape.workers} workers, {shape.partitions} partitions, "
                f"{size:,} bytes: {result.webhooks_per_second:,.0f}/s"
            )
    return [
        Figure.of(
            "scale",
            f"{shape.workers} worker{'s' * (shape.workers > 1)}, {shape.partitions} partitions, "
            f"{sources[shape.partitions, shape.padding_bytes][2] / 1000:.1f} kB",
            rounds,
            "/s",
        )
        for shape, rounds in rates.items()
    ]
