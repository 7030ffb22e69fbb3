"""The sink's last events on the status page: of each request that was accepted one operation, and each dead letter."""

from __future__ import annotations

from typing import NamedTuple

from pipeline.deadletters.masking import mask_id, mask_person, mask_text
from pipeline.kafka.records import DODO_TYPE, WEBHOOK_ID, Headers, text_header
from pipeline.sink.events import OperationsAccepted, RecordDeadLettered
from pipeline.watch.metrics import Metrics
from pipeline.watch.page.document import Event
from pipeline.watch.page.recent import Recent


class AcceptedBatch(NamedTuple):
    """The last operation of a request that Customer.io took, without its body, and how many there were in it."""

    key: bytes | None
    headers: Headers
    operations: int


Kept = AcceptedBatch | RecordDeadLettered


def recent_of(metrics: Metrics) -> Recent[Kept]:
    """The last events that reached `metrics`."""
    recent: Recent[Kept] = Recent(shown)

    def accepted(event: OperationsAccepted) -> None:
        if event.records:
            last = event.records[-1]
            recent.add(AcceptedBatch(last.key, last.headers, event.operations))

    metrics.on(OperationsAccepted, accepted)
    metrics.on(RecordDeadLettered, recent.add)
    return recent


def shown(at_ms: int, kept: Kept) -> Event:
    """The event as the page shows it."""
    match kept:
        case RecordDeadLettered():
            return Event.of(at_ms, kept.source, f"dead letter: {kept.class_}")
        case AcceptedBatch(key, headers, operations):
            others = operations - 1
            outcome = f"accepted, with {others:,} more in the request" if others else "accepted"
            what = mask_text(text_header(headers, DODO_TYPE) or "operation")
            webhook_id = mask_id(text_header(headers, WEBHOOK_ID) or "")
            return Event.of(at_ms, what, outcome, mask_person(key), webhook_id)
