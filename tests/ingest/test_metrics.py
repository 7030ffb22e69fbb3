"""Ingest's series."""

from __future__ import annotations

from pipeline.dodo.catalogue import TYPES
from pipeline.ingest.events import ProducerReplaced, RecordsStored, RequestEnded
from pipeline.ingest.metrics import observe_ingest
from pipeline.watch.metrics import Metrics


def _shown(*events: object) -> str:
    metrics = Metrics("ingest")
    observe_ingest(metrics)
    for event in events:
        metrics(event)
    return metrics.render()[0].decode()


def test_each_end_is_counted_once() -> None:
    """Requests are counted by how they ended, webhooks by type and mode, dead letters by class."""
    text = _shown(
        RequestEnded("accepted", 200, 0.002, 2400, "live", "payment.succeeded"),
        RequestEnded("accepted", 200, 0.002, 2400, "live", "payment.succeeded"),
        RequestEnded("accepted", 200, 0.002, 900, "test", "refund.failed"),
        RequestEnded("dead-lettered", 200, 0.002, 0, "live"),
        RequestEnded("forged", 401, 0.001),
        RecordsStored("w", (0.004,)),
        ProducerReplaced("OutOfOrderSequenceNumber", 0.2),
    )
    for line in (
        'dodo_cio_ingest_requests_total{outcome="accepted",status="200"} 3.0',
        'dodo_cio_ingest_requests_total{outcome="forged",status="401"} 1.0',
        'dodo_cio_ingest_webhooks_total{mode="live",type="payment.succeeded"} 2.0',
        'dodo_cio_ingest_webhooks_total{mode="test",type="refund.failed"} 1.0',
        'dodo_cio_ingest_dead_letters_total{class="unreadable",mode="live"} 1.0',
        'dodo_cio_ingest_store_seconds_bucket{le="0.005"} 1.0',
        "dodo_cio_ingest_body_bytes_sum 5700.0",
        "dodo_cio_ingest_producers_replaced_total 1.0",
    ):
        assert f"\n{line}\n" in text


def test_a_sender_cannot_make_series() -> None:
    """A thousand made-up types are one series."""
    text = _shown(*(RequestEnded("accepted", 200, 0.1, 10, "live", f"made.up{number}") for number in range(1000)))
    assert 'dodo_cio_ingest_webhooks_total{mode="live",type="other"} 1000.0' in text
    assert "made" not in text


def test_every_known_type_has_its_own() -> None:
    """Each type of the catalogue is told apart."""
    text = _shown(*(RequestEnded("accepted", 200, 0.1, 10, "live", type_) for type_ in TYPES))
    assert all(f'ingest_webhooks_total{{mode="live",type="{type_}"}} 1.0' in text for type_ in TYPES)
