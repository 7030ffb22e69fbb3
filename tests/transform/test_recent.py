"""The transform's last events, as the status page shows them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest

from pipeline.transform.chunk_stats import ChunkStats, ChunkTransformed
from pipeline.transform.decision import Decision
from pipeline.transform.recent import decided, recent_of, shown
from pipeline.transform.verdicts import DeadLettered, Decided, Dropped, MappedOperation, Operations, SentOn
from pipeline.watch.metrics import Metrics

BODY = b'{"attributes":{"name":"Ann Smith"}}'
IDENTIFY = MappedOperation("1", BODY, barrier=True, kind="identify", name=None)
PAID = MappedOperation("2", BODY, barrier=False, kind="event", name="payment_completed")


@pytest.mark.parametrize(
    ("verdict", "outcome", "who"),
    [
        (Operations(b"cus_1", (IDENTIFY, PAID), 1), "identify, payment_completed", "cus_1"),
        (Operations(b"ann@example.com", (PAID,), 1), "payment_completed", "[email]"),
        (Operations(b"cus_1", (replace(PAID, name="for ann@example.com"),), 1), "for [email]", "cus_1"),
        (Operations(b"cus_1", (), 1), "nothing to say", "cus_1"),
        (Dropped("payout", "payouts are the merchant's"), "dropped: payout", ""),
        (DeadLettered("unmappable", "no customer"), "dead letter: unmappable", ""),
        (SentOn(b"cus_1", 3, 4), "sent on to partition 3", "cus_1"),
    ],
)
def test_what_became_of_it(verdict: Decided, outcome: str, who: str) -> None:
    """Names of events and codes, never what a body says."""
    kept = decided(Decision(verdict, "payment.succeeded", "msg_1"))
    assert "Ann" not in repr(kept)
    event = shown(5, kept)
    assert (event.at_ms, event.what, event.outcome, event.who, event.webhook_id) == (
        5, "payment.succeeded", outcome, who, "msg_1",
    )  # fmt: skip


def chunk(decisions: Iterable[Decision]) -> ChunkTransformed:
    """A chunk with these, as the flow tells it."""
    tally = ChunkStats()
    for decision in decisions:
        tally.add(decision)
    counts = (tally.webhooks, tally.operations, tally.notes)
    return ChunkTransformed("t", 0, 0, 1, 2, 100, *counts, mapping_s=0.1, produce_s=0.1, last=tally.last)


def test_of_each_chunk_the_last() -> None:
    """A chunk of thousands costs no more than one of a single webhook."""
    metrics = Metrics("transform")
    recent = recent_of(metrics)
    drop = Dropped("payout", "payouts are the merchant's")
    metrics(chunk(Decision(drop, "payout.created", f"msg_{number}") for number in range(2000)))
    metrics(chunk([Decision(DeadLettered("unreadable", "no JSON"), None, "msg_a")]))
    metrics(chunk([]))
    assert [(event.what, event.webhook_id) for event in recent.events()] == [
        ("unreadable", "msg_a"),
        ("payout.created", "msg_1999"),
    ]
