"""What a file of twenty rules costs: the same webhooks through a transform without it, and with it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tests.bench import stage
from tests.bench.figures import Figure, median, per
from tests.bench.plan import Run
from tests.bench.state import PARTITIONS, Mapped, fill, transformed

RULES: Final = Path(__file__).with_name("rules.yaml")
TARGET: Final = 0.9


async def measure(run: Run) -> list[Figure]:
    """Both in turn on the same webhooks, with the customers' state; the medians count."""
    broker, directory, payments = run.broker, run.directory, run.sizes.payments
    source = await stage.topics(broker, directory, PARTITIONS)
    run.say(f"writing {payments:,} webhooks")
    await fill(source, payments)
    without: list[Mapped] = []
    with_: list[Mapped] = []
    for number in range(run.sizes.rounds):
        for found, rules in ((without, None), (with_, RULES)):
            run.say(f"round {number + 1}, {'with' if rules else 'without'} rules")
            group = f"rules-{rules is not None}-{number}"
            fresh = await stage.topics(broker, directory, PARTITIONS, transform_group=group)
            settings = fresh.model_copy(update={"webhooks_topic": source.webhooks_topic, "rules": rules})
            found.append(await transformed(settings, directory, payments))
    ratio = median(per(mine.per_second, bare.per_second) for mine, bare in zip(with_, without, strict=True))
    cpu = median(per(bare.cpu_us, mine.cpu_us) for mine, bare in zip(with_, without, strict=True))
    return [
        Figure("rules", "transform without rules, webhooks", median(one.per_second for one in without), "/s"),
        Figure("rules", "transform with 20 rules, webhooks", median(one.per_second for one in with_), "/s"),
        Figure("rules", "with 20 rules, of without", ratio, "x", at_least=TARGET),
        Figure("rules", "without, processor time a webhook", median(one.cpu_us for one in without), "µs"),
        Figure("rules", "with, processor time a webhook", median(one.cpu_us for one in with_), "µs"),
        Figure("rules", "the same by processor time", cpu, "x"),
    ]
