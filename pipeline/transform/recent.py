"""The transform's last events on the status page: of each chunk the webhook that was decided last."""

from __future__ import annotations

from typing import NamedTuple

from pipeline.deadletters.masking import mask_id, mask_person, mask_text
from pipeline.transform.chunk_stats import ChunkTransformed
from pipeline.transform.decision import Decision
from pipeline.transform.verdicts import DeadLettered, Dropped, Operations, SentOn
from pipeline.watch.metrics import Metrics
from pipeline.watch.page.document import Event
from pipeline.watch.page.recent import Recent


class Decided(NamedTuple):
    """What became of a webhook, without any body: of operations their names."""

    type: str | None
    outcome: str
    key: bytes | None
    webhook_id: str


def recent_of(metrics: Metrics) -> Recent[Decided]:
    """The last events that reached `metrics`."""
    recent: Recent[Decided] = Recent(shown)

    def transformed(chunk: ChunkTransformed) -> None:
        if chunk.last is not None:
            recent.add(decided(chunk.last))

    metrics.on(ChunkTransformed, transformed)
    return recent


def decided(decision: Decision) -> Decided:
    """What is kept of a decision."""
    key: bytes | None = None
    match decision.verdict:
        case Operations() as verdict:
            key = verdict.person_key
            outcome = ", ".join(one.name or one.kind for one in verdict.operations) or "nothing to say"
        case Dropped() as verdict:
            outcome = f"dropped: {verdict.reason}"
        case DeadLettered() as verdict:
            outcome = f"dead letter: {verdict.class_}"
        case SentOn() as verdict:
            key, outcome = verdict.key, f"sent on to partition {verdict.partition}"
    return Decided(decision.type, outcome, key, decision.webhook_id)


def shown(at_ms: int, kept: Decided) -> Event:
    """The event as the page shows it."""
    what = mask_text(kept.type or "unreadable")
    return Event.of(at_ms, what, mask_text(kept.outcome), mask_person(kept.key), mask_id(kept.webhook_id))
