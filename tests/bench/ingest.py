"""Signed webhooks a second into ingest, and how long an answer takes at half of that; against a floor.

The floor is the smallest Starlette handler that produces with acks=all through aiokafka before it answers: it checks no
signature and knows no keys. Ingest with two workers is measured too: on a machine whose cores the sender and the broker
share, its rate says little, and the processor time of a webhook how much two cores would take. All get the same
requests over the same keep-alive connections.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition

from pipeline.kafka.local.broker import free_port
from pipeline.settings import Settings
from tests.asking import local_client
from tests.bench import stage
from tests.bench.figures import Figure, median, p99, per
from tests.bench.load import Answers, as_fast_as_it_goes, connections, steadily
from tests.bench.payments import Payments
from tests.bench.plan import Run

PARTITIONS: Final = 4
CONNECTIONS: Final = 64
BOUND: Final = 0.9
WORKERS: Final = 2
WORKERS_BOUND: Final = 1.7
PAIR: Final = f"ingest, {WORKERS} workers"
WARM_UP: Final = 0.2
"""Of the load's time: imports, caches, the producer's first batches."""

BUILT: Final = 4_000
"""Requests that are signed ahead and go round: a webhook that comes again is stored again, as with Dodo's retries."""


@dataclass(frozen=True, slots=True)
class Load:
    """One server under both loads."""

    per_second: float
    cpu_us: float
    p50_ms: float
    p99_ms: float


async def measure(run: Run) -> list[Figure]:
    """All three, the rounds interleaved."""
    payments = Payments()
    loads: dict[str, list[Load]] = defaultdict(list)
    for number in range(run.sizes.rounds):
        for name in ("ingest", PAIR, "floor"):
            load = await _round(run, payments, name)
            loads[name].append(load)
            run.say(
                f"round {number + 1} of {run.sizes.rounds}: {name} {load.per_second:,.0f}/s, at half of it "
                f"p50 {load.p50_ms:.1f} ms, p99 {load.p99_ms:.1f} ms"
            )
    figures = []
    for name, rounds in loads.items():
        figures += [
            Figure.of("ingest", f"{name}, webhooks", [one.per_second for one in rounds], "/s"),
            Figure.of("ingest", f"{name}, processor time a webhook", [one.cpu_us for one in rounds], "µs"),
            Figure.of("ingest", f"{name} at half load, p50", [one.p50_ms for one in rounds], "ms"),
            Figure.of("ingest", f"{name} at half load, p99", [one.p99_ms for one in rounds], "ms"),
        ]
    ratios = [per(one.per_second, other.per_second) for one, other in zip(loads["ingest"], loads["floor"], strict=True)]
    both = zip(loads["ingest"], loads[PAIR], strict=True)
    gains = [WORKERS * per(one.cpu_us, two.cpu_us) for one, two in both]
    return [
        *figures,
        Figure.of("ingest", "ingest / floor", ratios, "x", at_least=BOUND),
        Figure.of("ingest", f"{PAIR} / one, cores of their own", gains, "x", at_least=WORKERS_BOUND),
    ]


async def _round(run: Run, payments: Payments, name: str) -> Load:
    port = free_port()
    settings = await stage.topics(run.broker, run.directory, PARTITIONS, port=port)
    requests = [payments.request(number, stage.SECRET, int(time.time())) for number in range(BUILT)]
    if name != "floor":
        settings = settings.model_copy(update={"ingest_workers": WORKERS if name == PAIR else 1})
        process = stage.Process.stage(settings, run.directory, "ingest")
    else:
        argv = (
            sys.executable, "-m", "tests.bench.contenders.floor",
            settings.kafka_bootstrap_servers, settings.webhooks_topic, str(port),
        )  # fmt: skip
        process = stage.Process(argv, stage.environment(settings), run.directory, name)
    url = f"http://127.0.0.1:{port}"
    seconds = run.sizes.load_seconds
    try:
        await stage.ready(process, url)
        if name == PAIR:
            await _all_serve(url)
        async with connections(url, CONNECTIONS) as pool:
            warm = await as_fast_as_it_goes(pool, _round_and_round(requests), WARM_UP * seconds)
            cpu_s = process.cpu_s()
            full = await as_fast_as_it_goes(pool, _round_and_round(requests), seconds)
            cpu_s = process.cpu_s() - cpu_s
            rate = full.per_second / 2
            due = _round_and_round(requests)
            half = await steadily(pool, [next(due) for _ in range(int(rate * seconds))], rate)
    finally:
        await process.stop()
    answers = sum(_all_taken(one) for one in (warm, full, half))
    stored = await _stored(settings)
    assert stored == answers, f"{name} answered 200 to {answers:,} webhooks and stored {stored:,}"
    return Load(
        per_second=full.per_second,
        cpu_us=per(1e6 * cpu_s, len(full.seconds)),
        p50_ms=1000 * median(half.seconds),
        p99_ms=1000 * p99(half.seconds),
    )


async def _all_serve(url: str) -> None:
    async with local_client(url) as client, asyncio.timeout(stage.PATIENCE_S):
        # A worker whose supervisor is late answers for itself, and names nobody.
        while len((await client.get("/status")).json().get("workers", ())) < WORKERS:  # noqa: ASYNC110 - processes of others
            await asyncio.sleep(0.05)


def _round_and_round(requests: list[bytes]) -> Iterator[bytes]:
    while True:
        yield from requests


def _all_taken(answers: Answers) -> int:
    assert set(answers.statuses) <= {200}, f"not every webhook was taken: {answers.statuses}"
    return answers.statuses[200]


async def _stored(settings: Settings) -> int:
    consumer = AIOKafkaConsumer(
        settings.webhooks_topic, bootstrap_servers=settings.kafka_bootstrap_servers, group_id=None
    )
    await consumer.start()
    try:
        partitions = [TopicPartition(settings.webhooks_topic, number) for number in range(PARTITIONS)]
        return sum((await consumer.end_offsets(partitions)).values())
    finally:
        await consumer.stop()
