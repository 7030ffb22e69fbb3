"""Whether the state's cost grows with it: the same work with few and many customers, and with few and many payments.

No Kafka, as in `decision`. What customers did before is not decided webhook by webhook: one of them lives it, and the
others' facts are hers under their names. Where they are many, only those who pay now have more than one payment behind
them: what a customer has of facts is read by that customer's webhooks alone.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pipeline.kafka.producer.partitioner import partition_of
from pipeline.settings import Settings
from pipeline.statestore.store import MemoryStore
from pipeline.transform.decision import decide
from pipeline.transform.mapping import map_webhook
from pipeline.transform.policy import Policy
from tests.bench.decision import PARTITIONS, TOPIC, Bench, polls
from tests.bench.figures import Figure, median, per
from tests.bench.plan import Run
from tests.bench.shop import ShopTraffic, customer_id_of

CUSTOMERS: Final = (10, 1_000, 100_000)
PAYMENTS: Final = (1, 200)
"""That each has made before."""

PAYING: Final = 500
"""Of many customers so many pay while it is measured."""

OF_THE_BEST: Final = 0.5

Facts = list[tuple[bytes, bytes]]


async def measure(run: Run) -> list[Figure]:
    """Every shape in turn, on stores of its own."""
    webhooks = run.sizes.webhooks // 10
    costs: dict[str, list[float]] = defaultdict(list)
    for number in range(run.sizes.rounds):
        for customers in CUSTOMERS:
            for payments in PAYMENTS:
                shape = f"{customers:,} customers, {payments} payments of each before"
                run.say(f"round {number + 1}: {shape}")
                with tempfile.TemporaryDirectory(dir=run.directory) as directory:
                    costs[shape].append(await _cost(Path(directory), customers, payments, webhooks))
    best = min(map(median, costs.values()))
    return [
        *(Figure.of("shapes", f"{shape}, processor time a webhook", found, "µs") for shape, found in costs.items()),
        Figure(
            "shapes", "dearest shape, of the cheapest",
            per(best, max(map(median, costs.values()))), "x", at_least=OF_THE_BEST,
        ),
    ]  # fmt: skip


async def _cost(directory: Path, customers: int, payments: int, webhooks: int) -> float:
    """Microseconds of processor time a webhook, on a store that knows the customers."""
    bench = Bench(directory)
    try:
        _fill(bench, customers, payments)
        paying = min(customers, PAYING)
        return 1e6 * await bench.take(polls(ShopTraffic(webhooks, paying, before=payments))) / webhooks
    finally:
        bench.close()


def _fill(bench: Bench, customers: int, payments: int) -> None:
    """Have the past of all customers in the stores."""
    assert bench.here is not None
    many, once = _lived(payments), _lived(1)
    values: list[dict[bytes, bytes | None]] = [{} for _ in range(PARTITIONS)]
    derived: list[dict[bytes, bytes | None]] = [{} for _ in range(PARTITIONS)]
    for number in range(customers):
        facts, beside = many if number < PAYING else once
        partition = partition_of(customer_id_of(number).encode(), PARTITIONS)
        values[partition].update(_as(number, facts))
        derived[partition].update(_as(number, beside))
    for local, told, kept in zip(bench.here.local_stores, values, derived, strict=True):
        local.write(told, kept, 0)


def _lived(payments: int) -> tuple[Facts, Facts]:
    """What customer 0 leaves behind after so many payments: facts, and what is derived from them."""
    store, policy = MemoryStore(), Policy.of(Settings.load())
    for record in ShopTraffic(payments, 1).records(TOPIC, 1):
        decide(record, policy, map_webhook, store)
    return [*store.scan(b"")], [*store.derived_values.items()]


def _as(number: int, facts: Facts) -> Iterator[tuple[bytes, bytes]]:
    """The same of another customer."""
    mine, theirs = customer_id_of(0).encode(), customer_id_of(number).encode()
    names = [(b"customer0@", b"customer%d@" % number), (b"Customer 0", b"Customer %d" % number)]
    for key, value in facts:
        for before, now in names:
            value = value.replace(before, now)  # noqa: PLW2901 - the value in its customer's words
        yield key.replace(mine, theirs), value
