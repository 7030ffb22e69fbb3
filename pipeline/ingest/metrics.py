"""Ingest's series: an observer's handlers."""

from __future__ import annotations

from typing import Final, get_args

from pipeline.deadletters.envelope import CLASSES
from pipeline.dodo.catalogue import TYPES
from pipeline.dodo.signature import Mode
from pipeline.ingest.events import Outcome, ProducerReplaced, RecordsStored, RequestEnded
from pipeline.watch.letters import observe_letters
from pipeline.watch.metrics import OTHER, SECONDS, Metrics
from pipeline.watch.tally import CounterTally, HistogramTally

ENDS: Final[tuple[tuple[Outcome, int], ...]] = (
    ("accepted", 200),
    ("dead-lettered", 200),
    ("forged", 401),
    ("incomplete", 400),
    ("too-large", 413),
    ("too-slow", 408),
    ("unavailable", 503),
    ("overloaded", 503),
    ("client-gone", 0),
)
"""How requests end, with the status that is answered then."""

BYTES: Final = (512, 1024, 2048, 4096, 8192, 16_384, 65_536, 262_144, 1_048_576)


def observe_ingest(metrics: Metrics) -> None:
    """Register the handlers of ingest's records."""
    requests = CounterTally(
        metrics,
        "ingest_requests",
        "Requests to the webhook path, by how they ended: accepted, forged, too large, not stored, …",
        ["outcome", "status"],
        begins=ENDS,
    )
    webhooks = CounterTally(
        metrics,
        "ingest_webhooks",
        "Webhooks stored and answered 200, by type (unknown ones are `other`) and mode.",
        ["type", "mode"],
    )
    letters = metrics.counter(
        "ingest_dead_letters",
        "Genuine requests that were no webhook, stored as dead letters.",
        ["class", "mode"],
        begins=[("unreadable", mode) for mode in get_args(Mode)],
    )
    given_up = observe_letters(metrics, CLASSES)
    seconds = HistogramTally(
        metrics, "ingest_request_seconds", "From the request's head to its answer.", ["outcome"], buckets=SECONDS
    )
    stored = HistogramTally(
        metrics,
        "ingest_store_seconds",
        "From handing a record to the producer to Kafka's confirmation.",
        buckets=SECONDS,
    ).of()
    size = HistogramTally(metrics, "ingest_body_bytes", "Size of genuine bodies.", buckets=BYTES).of()
    replaced = metrics.counter("ingest_producers_replaced", "Producers exchanged because their sequence broke.")

    def on_request(event: RequestEnded) -> None:
        requests.add(event.outcome, event.status)
        seconds.of(event.outcome).observe(event.seconds)
        if event.outcome == "accepted":
            webhooks.add(event.type if event.type in TYPES else OTHER, event.mode)
            size.observe(event.size_bytes)
        elif event.outcome == "dead-lettered":
            letters.labels("unreadable", event.mode).inc()
            given_up("unreadable", 1)

    def on_stored(event: RecordsStored) -> None:
        for waited_s in event.seconds:
            stored.observe(waited_s)

    metrics.on(RequestEnded, on_request)
    metrics.on(RecordsStored, on_stored)
    metrics.on(ProducerReplaced, lambda _: replaced.inc())
