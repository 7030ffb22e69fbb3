"""What traces cost: processor time a webhook with traces off, at 1 % and at 100 %, in one process and without Kafka.

Ingest answers signed requests over a store in memory; the transform maps without a state; the sink's observer sees
batches answered. Spans are made, serialised and sent by the real SDK to a collector in another process, and what it
takes until the last one has left is counted too. `python -m tests.bench.traces` shows the figures without a broker.
"""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, cast

from opentelemetry.trace import SpanKind
from rich.console import Console

from pipeline.dodo.signature import Verifier, sign
from pipeline.ingest.endpoint import WebhookEndpoint
from pipeline.ingest.spans import WebhookSpans
from pipeline.ingest.store import Stored
from pipeline.kafka.fetched import FetchedRecord
from pipeline.kafka.worker.batches import RecordBatch
from pipeline.settings import Settings
from pipeline.sink.events import OperationsAccepted, RequestEnded
from pipeline.sink.item import Item
from pipeline.sink.spans import OperationSpans
from pipeline.telemetry.traces import Traces
from pipeline.transform.decision import judge
from pipeline.transform.flow import Flow
from pipeline.transform.mapping import map_webhook
from pipeline.transform.policy import Policy
from pipeline.transform.spans import RecordSpans
from tests.bench.decision import CHUNK, DEAD_LETTERS, OPERATIONS, TOPIC, NoBroker
from tests.bench.figures import Figure
from tests.bench.payments import Payments
from tests.bench.plan import Run, Sizes
from tests.bench.stage import SECRET

MOST: Final = 2_000
"""Webhooks of a round: at 100 % their spans fit into what may wait, so none is dropped unmeasured."""

BATCH: Final = 500
"""Operations of a request."""

AT_MS: Final = 1_790_000_000_000
SHARES: Final = (None, 0.01, 1.0)
COLLECTOR: Final = """
import sys
from tests.telemetry.collector import collecting
with collecting() as collector:
    collector.take = lambda path, body: None
    print(collector.url, flush=True)
    sys.stdin.read()
"""


class _Exchange:
    """A request that nobody waits for."""

    def __init__(self, headers: Sequence[tuple[bytes, bytes]]) -> None:
        self.headers = headers

    def answer(self, *_: object) -> None:
        """Answered."""

    def leave(self) -> None:
        """Nobody is left."""


class _Store:
    """Confirms at once."""

    def put(self, _topic: str, _record: object, told: Callable[[Stored], None]) -> None:
        """Stored."""
        told(Stored(0.001))


@contextmanager
def _collector() -> Iterator[str]:
    with subprocess.Popen(
        [sys.executable, "-c", COLLECTOR], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.communicate("")


Work = Callable[[Traces | None, float], Awaitable[None]]


def _ingest(count: int) -> Work:
    payments, now = Payments(), int(time.time())
    requests = []
    for number in range(count):
        body = payments.body(number)
        signed = sign(SECRET, payments.webhook_id(number), now, body)
        requests.append(([(name.encode(), value.encode()) for name, value in signed.items()], body))

    async def work(traces: Traces | None, _: float) -> None:
        spans = None if traces is None else WebhookSpans(traces, "/webhooks/dodo")
        endpoint = WebhookEndpoint(
            Verifier([SECRET], []), cast("Any", _Store()), webhooks_topic=TOPIC, dead_letters_topic=DEAD_LETTERS,
            spans=spans,
        )  # fmt: skip
        for number, (headers, body) in enumerate(requests):
            endpoint.begin(cast("Any", _Exchange(headers))).whole(body)
            if not number % CHUNK:
                await asyncio.sleep(0)

    return work


def _transform(count: int) -> Work:
    payments, policy = Payments(), Policy.of(Settings.load())
    plain = [
        FetchedRecord(TOPIC, 0, number, AT_MS, 1, key, body, headers)
        for number, (key, body, headers) in enumerate(payments.records(count))
    ]

    async def work(traces: Traces | None, share: float) -> None:
        spans = None if traces is None else RecordSpans(traces, "transform", OPERATIONS)
        flow = Flow(
            lambda reading, store: judge(reading, policy, map_webhook, store), NoBroker(), operations_topic=OPERATIONS,
            dead_letters_topic=DEAD_LETTERS, observe=lambda _: None, fail=_fail, spans=spans,
        )  # fmt: skip
        flow.resume(1, frozenset())
        records = _traced(plain, share)
        for start in range(0, count, CHUNK):
            await flow.take(RecordBatch.of(TOPIC, 0, records[start : start + CHUNK]))
        await flow.drained()

    return work


def _sink(count: int) -> Work:
    plain = [
        FetchedRecord(OPERATIONS, 0, number, AT_MS, 1, b"cus", b"{}", _headers(number)) for number in range(2 * count)
    ]

    async def work(traces: Traces | None, share: float) -> None:
        if traces is None:
            return
        spans, records = OperationSpans(traces, "sink"), _traced(plain, share)
        for start in range(0, len(records), BATCH):
            part = records[start : start + BATCH]
            items = [Item(record, b"{}", b"cus", False, cast("Any", None), 0, 0) for record in part]
            spans(RequestEnded(0, len(items), 400_000, 1, "accepted", 200, 0.05, items))
            spans(OperationsAccepted(0, len(part), 0.1, part))
            await asyncio.sleep(0)

    return work


def _headers(number: int) -> tuple[tuple[str, bytes], ...]:
    names = ("op-id", "webhook-id", "dodo-type", "event-time", "received-at", "source")
    return tuple((name, b"%026d" % number) for name in names)


def _traced(records: Sequence[FetchedRecord], share: float) -> list[FetchedRecord]:
    """So many of them have a trace that is kept."""
    dice = random.Random(1)
    return [
        replace(record, headers=(*record.headers, ("traceparent", b"00-%032x-%016x-01" % (number + 1, number + 1))))
        if dice.random() < share
        else record
        for number, record in enumerate(records)
    ]


def _fail(error: BaseException) -> None:
    raise error


async def _round(work: Work, url: str, share: float | None, *, stage: str) -> float:
    """Processor seconds, until the last span has left."""
    settings = Settings.load(otlp_endpoint=url, trace_ratio=share or 0.0)
    traces = None if share is None else Traces(settings, cast("Any", stage))
    if traces is not None:
        traces.span("the first one connects", SpanKind.INTERNAL, None).end()
        await _left(traces)
    began = time.process_time()
    await work(traces, share or 0.0)
    if traces is not None:
        await _left(traces)
    took_s = time.process_time() - began
    if traces is not None:
        await traces.stop()
    return took_s


async def _left(traces: Traces) -> None:
    while traces.counts.waiting:  # noqa: ASYNC110 - another thread's number
        await asyncio.sleep(0.1)
    assert not traces.counts.dropped + traces.counts.failed


async def measure(run: Run) -> list[Figure]:
    """Rounds in turn, so that what else the machine does concerns all alike."""
    count = min(run.sizes.webhooks, MOST)
    found: dict[tuple[str, float | None], list[float]] = {}
    with _collector() as url:
        for stage, work in (("ingest", _ingest(count)), ("transform", _transform(count)), ("sink", _sink(count))):
            for number in range(run.sizes.rounds):
                run.say(f"{stage}, round {number + 1}: {count:,} webhooks with traces off, at 1 % and at 100 %")
                for share in SHARES:
                    seconds = await _round(work, url, share, stage=stage)
                    found.setdefault((stage, share), []).append(1e6 * seconds / count)
    return [
        Figure.of(
            "traces", f"{stage}, {'off' if share is None else f'{share:.0%}'}, processor time a webhook", each, "µs"
        )
        for (stage, share), each in found.items()
        if (stage, share) != ("sink", None)  # nothing is called then
    ]


def main() -> None:
    """Show the figures of so many rounds as the first argument says."""
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        sizes = Sizes(rounds=int(sys.argv[1]) if sys.argv[1:] else 1)
        for figure in asyncio.run(measure(Run(None, Path(directory), sizes))):  # type: ignore[arg-type]
            Console().print(f"{figure.name}: {figure.value_text}  {figure.spread_text}", highlight=False)


if __name__ == "__main__":
    main()
