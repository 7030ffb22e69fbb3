"""Counts of a chunk, and the series that they become."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from pipeline.transform.chunk_stats import ChunkStats, ChunkTransformed
from pipeline.transform.decision import Decision
from pipeline.transform.metrics import observe_transform
from pipeline.transform.verdicts import DeadLettered, Dropped, MappedOperation, Operations
from pipeline.watch.metrics import Metrics

PAID = Operations(
    person_key=b"cus_1",
    operations=(
        MappedOperation("1", b"{}", barrier=True, kind="identify", name=None),
        MappedOperation("2", b"{}", barrier=False, kind="event", name="payment_completed"),
    ),
    event_time_ms=1,
    notes=("late-event", "attribute-cut", "attribute-cut"),
)


def tally() -> ChunkStats:
    """Two payments, a payout, a type that nobody knows and bytes that nobody can read."""
    counts = ChunkStats()
    for decision in (
        Decision(PAID, "payment.succeeded", "m1"),
        Decision(PAID, "payment.succeeded", "m2"),
        Decision(Dropped("payout", "payouts are the merchant's"), "payout.created", "m3"),
        Decision(DeadLettered("unknown-type", "new"), "sender.chose.this", "m4"),
        Decision(DeadLettered("unreadable", "not JSON"), None, "m5"),
    ):
        counts.add(decision)
    return counts


def test_counts() -> None:
    """Each webhook counts once by its outcome, each operation by its event name, each note as often as it occurred."""
    counts = tally()
    assert counts.webhooks == {
        ("payment.succeeded", "operations", ""): 2,
        ("payout.created", "dropped", "payout"): 1,
        ("other", "dead_letter", "unknown-type"): 1,
        ("other", "dead_letter", "unreadable"): 1,
    }
    assert counts.operations == {("identify", ""): 2, ("event", "payment_completed"): 2}
    assert counts.notes == {"late-event": 2, "attribute-cut": 4}


def value(registry: CollectorRegistry, series: str, /, **labels: str) -> float | None:
    """The present value of a series."""
    return registry.get_sample_value(f"dodo_cio_{series}", labels)


def test_series() -> None:
    """A chunk moves each documented series by what it holds; a type of the sender's invention is no label."""
    metrics = Metrics("transform")
    observe_transform(metrics)
    counts = tally()
    metrics(
        ChunkTransformed(
            topic="dodo.webhooks",
            partition=0,
            first_offset=0,
            last_offset=4,
            records=5,
            bytes=12_000,
            webhooks=counts.webhooks,
            operations=counts.operations,
            notes=counts.notes,
            mapping_s=0.002,
            produce_s=0.03,
        )
    )
    registry = metrics.registry
    assert value(registry, "webhooks_total", type="payment.succeeded", outcome="operations", reason="") == 2
    assert value(registry, "webhooks_total", type="payout.created", outcome="dropped", reason="payout") == 1
    assert value(registry, "webhooks_total", type="other", outcome="dead_letter", reason="unknown-type") == 1
    assert value(registry, "operations_total", kind="event", name="payment_completed") == 2
    assert value(registry, "mapping_notes_total", note="attribute-cut") == 4
    assert value(registry, "webhook_bytes_total") == 12_000
    assert value(registry, "chunk_records_sum") == 5
    assert value(registry, "mapping_seconds_sum") == 0.002
    assert value(registry, "produce_seconds_bucket", le="0.05") == 1
    assert b"sender.chose.this" not in metrics.render()[0]
