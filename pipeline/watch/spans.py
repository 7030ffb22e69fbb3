"""The series of spans: exported, failed and dropped."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from pipeline.telemetry.counts import SpanCounts
from pipeline.watch.metrics import NAMESPACE, Metrics, Series

NAME: Final = f"{NAMESPACE}_trace_spans"
TEXT: Final = (
    "Spans that ended, by what became of them: exported; failed, since the collector did not take them; dropped, since "
    "too many waited."
)
OUTCOMES: Final = ("exported", "failed", "dropped")


class _Spans(Collector):
    def __init__(self, counts: SpanCounts) -> None:
        self._counts = counts

    def describe(self) -> Iterable[Metric]:
        return [CounterMetricFamily(NAME, TEXT)]

    def collect(self) -> Iterable[Metric]:
        family = CounterMetricFamily(NAME, TEXT, labels=["outcome"])
        for outcome in OUTCOMES:
            family.add_metric([outcome], getattr(self._counts, outcome))
        return [family]


def show_spans(metrics: Metrics, counts: SpanCounts) -> None:
    """Register the series; without tracing they stay at 0."""
    metrics.collect(_Spans(counts), Series(f"{NAME}_total", "counter", TEXT, ("outcome",)))
