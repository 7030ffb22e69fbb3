"""The supervisor's own series, beside the sums of its workers'."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

from pipeline.watch.metrics import Metrics


def worker_series(metrics: Metrics) -> tuple[Gauge, Counter]:
    """How many workers take webhooks, and how many were started again; registered in `metrics`."""
    serving = metrics.gauge("ingest_workers", "Workers that take webhooks (with PIPELINE_INGEST_WORKERS above 1).")
    replaced = metrics.counter("ingest_workers_replaced", "Workers that ended and were started again.")
    return serving, replaced
