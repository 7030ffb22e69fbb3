"""Ingest's last events, as the status page shows them."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.ingest.events import RequestEnded
from pipeline.ingest.recent import recent_of, shown
from pipeline.watch.metrics import Metrics


@pytest.mark.parametrize(
    ("ended", "said"),
    [
        (RequestEnded("accepted", 200, 0.1, 9, "live", "refund.failed", webhook_id=b"msg_1"),
         ("refund.failed", "accepted", "msg_1")),
        (RequestEnded("accepted", 200, 0.1, 9, "test", "refund.failed", webhook_id=b"msg_1"),
         ("refund.failed", "accepted (test mode)", "msg_1")),
        (RequestEnded("forged", 401, 0.1, reason="no signature matches"), ("request", "forged", "")),
        (RequestEnded("accepted", 200, 0.1, 9, "live", "ann@example.com", webhook_id=b"\xffann@example.com"),
         ("[email]", "accepted", "[email]")),
    ],
)  # fmt: skip
def test_how_it_ended(ended: RequestEnded, said: tuple[str, str, str]) -> None:
    """By type, outcome and id, each masked."""
    event = shown(7, ended)
    assert (event.what, event.outcome, event.webhook_id) == said
    assert (event.at_ms, event.who) == (7, "")


async def test_the_id_of_what_was_stored(edge: Any, ask: Any, signed: Any) -> None:
    """A webhook, and what is none, are told with their ids; what nobody signed has none that is worth one."""
    metrics = Metrics("ingest")
    recent = recent_of(metrics)
    edge.endpoint.observers = (metrics,)
    body = b'{"business_id":"bus_1","type":"payment.succeeded","timestamp":"2026-01-01T00:00:00Z","data":{}}'
    await ask(edge.app, signed(body, webhook_id="msg_1"), body)
    await ask(edge.app, signed(b"[]", webhook_id="msg_2"), b"[]")
    await ask(edge.app, {**signed(body, webhook_id="msg_3"), "webhook-signature": "v1,AAAA"}, body)
    assert [(event.outcome, event.webhook_id) for event in recent.events()] == [
        ("forged", ""),
        ("dead-lettered", "msg_2"),
        ("accepted", "msg_1"),
    ]
