"""Combines the series of several processes into those of one, for scrapes.

Counters and histograms are summed, including those of processes that have ended: a sum that falls would look like a
restart, and Prometheus would count it again from 0. A gauge is summed, or the value that matters is shown (`GAUGES`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

Key = tuple[str, str, tuple[tuple[str, str], ...]]
"""Names of the family and the sample, and the labels."""

Sums = dict[Key, float]

COUNTS: Final = frozenset({"counter", "histogram", "summary"})


def _farthest(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return max(known, key=abs) if known else math.nan


GAUGES: Final[Mapping[str, Callable[[Sequence[float]], float]]] = {
    "dodo_cio_ready": min,
    "dodo_cio_live": min,
    "dodo_cio_event_loop_lag_seconds": max,
    "dodo_cio_event_loop_tasks": sum,
    "dodo_cio_clock_ahead_seconds": _farthest,
    "dodo_cio_build_info": max,
    "dodo_cio_kafka_certificate_ends_timestamp_seconds": min,
    "dodo_cio_http_connections": sum,
    "dodo_cio_http_connections_limit": sum,
    "dodo_cio_ingest_workers": sum,
    "process_virtual_memory_bytes": sum,
    "process_resident_memory_bytes": sum,
    "process_open_fds": sum,
    "process_max_fds": min,
    "process_start_time_seconds": min,
}
"""How the gauges of processes become one; a gauge that is not here is summed."""


def families(exposition: str) -> list[Metric]:
    """The series of one process, from its text."""
    return list(text_string_to_metric_families(exposition))


def counts(found: Iterable[Metric]) -> Sums:
    """Those of a process's series that must never fall."""
    return {
        _key(metric, sample): sample.value for metric in found if metric.type in COUNTS for sample in metric.samples
    }


def render(processes: Sequence[Sequence[Metric]], ended: Sums, accept: str = "") -> tuple[bytes, str]:
    """One exposition of them all, in the format that the `Accept` header asks for, and its content type.

    Args:
        processes: the series of each.
        ended: counts of those that have ended.
        accept: the scrape's header.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(summed(processes, ended))
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


def summed(processes: Sequence[Sequence[Metric]], ended: Sums) -> Collector:
    """Their series as one process's; arguments as of `render`."""
    return _Summed(processes, ended)


class _Summed(Collector):
    def __init__(self, processes: Sequence[Sequence[Metric]], ended: Sums) -> None:
        self._processes = processes
        self._ended = ended

    def collect(self) -> Iterable[Metric]:
        """One family for all families of a name."""
        known: dict[str, Metric] = {}
        values: dict[str, dict[Key, list[float]]] = {}
        for found in self._processes:
            for metric in found:
                known.setdefault(metric.name, metric)
                for sample in metric.samples:
                    key = _key(metric, sample)
                    values.setdefault(metric.name, {}).setdefault(key, []).append(sample.value)
        for key, value in self._ended.items():
            if key[0] in known:
                values.setdefault(key[0], {}).setdefault(key, []).append(value)
        for name, first in known.items():
            join = sum if first.type in COUNTS else GAUGES.get(name, sum)
            summed = Metric(name, first.documentation, first.type)
            for (_, sample_name, labels), several in values.get(name, {}).items():
                summed.add_sample(sample_name, dict(labels), join(several))
            yield summed


def _key(metric: Metric, sample: Sample) -> Key:
    return metric.name, sample.name, tuple(sorted(sample.labels.items()))
