"""Ingest's last events on the status page: each request to the webhook path."""

from __future__ import annotations

from pipeline.deadletters.masking import mask_id, mask_text
from pipeline.ingest.events import RequestEnded
from pipeline.watch.metrics import Metrics
from pipeline.watch.page.document import Event
from pipeline.watch.page.recent import Recent


def recent_of(metrics: Metrics) -> Recent[RequestEnded]:
    """The last events that reached `metrics`."""
    recent: Recent[RequestEnded] = Recent(shown)
    metrics.on(RequestEnded, recent.add)
    return recent


def shown(at_ms: int, ended: RequestEnded) -> Event:
    """The event as the page shows it. The customer is in the body alone, which is not read for that."""
    test = " (test mode)" if ended.mode == "test" else ""
    webhook_id = mask_id(ended.webhook_id.decode("utf-8", "replace"))
    return Event.of(at_ms, mask_text(ended.type or "request"), f"{ended.outcome}{test}", webhook_id=webhook_id)
