"""The figures of a process, read from its series: each is the sum, or the worst, of what a scrape shows as well."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Final

from prometheus_client import CollectorRegistry, Metric

from pipeline.settings import Stage
from pipeline.watch.metrics import NAMESPACE

DONE: Final[Mapping[Stage, str]] = {
    "ingest": f"{NAMESPACE}_ingest_webhooks_total",
    "transform": f"{NAMESPACE}_webhooks_total",
    "sink": f"{NAMESPACE}_operations_accepted_total",
}
"""What a stage has done: webhooks stored, webhooks decided, operations accepted."""

COUNTS: Final = {
    "partitions": f"{NAMESPACE}_partitions_assigned",
    "lag_records": f"{NAMESPACE}_partition_lag_records",
    "lost_records": f"{NAMESPACE}_partition_lost_records",
    "restore_records": f"{NAMESPACE}_restore_remaining_records",
}
SUMS: Final = {
    "budget_per_second": f"{NAMESPACE}_request_budget_per_second",
    "budget_used_per_second": f"{NAMESPACE}_request_budget_used_per_second",
}
WORST: Final = {
    "lag_seconds": f"{NAMESPACE}_partition_lag_seconds",
    "held_seconds": f"{NAMESPACE}_held_seconds",
}
LETTERS: Final = f"{NAMESPACE}_dead_letters_total"
REQUESTS: Final = f"{NAMESPACE}_ingest_requests_total"

TAKEN: Final = frozenset({"accepted", "dead-lettered"})
"""Requests that were stored."""

NAMES: Final = (*DONE.values(), *COUNTS.values(), *SUMS.values(), *WORST.values(), LETTERS, REQUESTS)


def families_of(registry: CollectorRegistry) -> Iterable[Metric]:
    """The families of a registry that `figures` needs; nothing else is collected."""
    found: Iterable[Metric] = registry.restricted_registry(NAMES).collect()
    return found


def figures(stage: Stage, families: Iterable[Metric]) -> dict[str, Any]:
    """Each figure by its name in the document; None where it has no series, so that it is not taken for 0."""
    values: dict[str, list[float]] = {}
    letters: dict[str, int] = {}
    turned_away: dict[str, int] = {}
    for family in families:
        for sample in family.samples:
            if not math.isfinite(sample.value):
                continue
            values.setdefault(sample.name, []).append(sample.value)
            if sample.name == LETTERS:
                _add(letters, sample.labels["class"], sample.value)
            elif sample.name == REQUESTS and sample.labels["outcome"] not in TAKEN:
                _add(turned_away, sample.labels["outcome"], sample.value)
    return {
        "done": int(sum(values.get(DONE[stage], ()))),
        **{name: int(sum(values[series])) if series in values else None for name, series in COUNTS.items()},
        **{name: sum(values[series]) if series in values else None for name, series in SUMS.items()},
        **{name: max(values[series]) if series in values else None for name, series in WORST.items()},
        "letters": letters,
        "turned_away": turned_away,
    }


def _add(counts: dict[str, int], label: str, value: float) -> None:
    if value > 0:
        counts[label] = counts.get(label, 0) + int(value)
