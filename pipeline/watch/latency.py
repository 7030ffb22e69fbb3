"""A histogram of latencies with exemplars, for records that are finished hundreds at a time.

One observation a record would cost the sink a third of its throughput. So records that were accepted together are
sorted and counted together, and each bucket keeps one exemplar, the latest: by its webhook id a slow record can be
followed (`dodo-cio trace`). Only the OpenMetrics format has exemplars; Prometheus keeps them if it was started with
`--enable-feature=exemplar-storage`, and other readers do not see them.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Generic, TypeVar

from prometheus_client import Metric
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar

from pipeline.watch.metrics import NAMESPACE, Metrics, Series

EXEMPLAR_CHARACTERS: Final = 128
"""OpenMetrics' limit for the names and values of an exemplar's labels together."""

PLAIN: Final = re.compile(r"[\w.:-]+", re.ASCII)
"""Allowed values of an exemplar's label: not every reader accepts escapes, and a scrape must not fail for one."""

E = TypeVar("E")


class Latency(Collector, Generic[E]):
    """A histogram of seconds, given the times at which things began.

    Args:
        metrics: where it is registered.
        name: without the prefix, its unit last.
        text: what it measures.
        buckets: upper bounds in seconds, rising.
        label: of the exemplars.
        value: returns the label's value for a thing; None for none.
    """

    def __init__(
        self,
        metrics: Metrics,
        name: str,
        text: str,
        *,
        buckets: Sequence[float],
        label: str,
        value: Callable[[E], str | None],
    ) -> None:
        self._series = Series(f"{NAMESPACE}_{name}", "histogram", text)
        self._bounds_ms = [int(bound * 1000) for bound in buckets]
        self._names = [*(str(float(bound)) for bound in buckets), "+Inf"]
        self._counts = [0] * len(self._names)
        self._examples: list[Exemplar | None] = [None] * len(self._names)
        self._sum_ms = 0
        self._label = label
        self._value = value
        metrics.collect(self, self._series)

    def observe(self, began_ms: Sequence[int], things: Sequence[E], ended_s: float) -> None:
        """Count `things` that ended at `ended_s` (seconds since the epoch), by when each began (unix ms).

        A thing that began later than it ended, since some clock is wrong, counts as 0 seconds.
        """
        if not began_ms:
            return
        ended_ms = int(ended_s * 1000)
        took_ms = sorted([ended_ms - at_ms for at_ms in began_ms])
        self._sum_ms += sum(took_ms) - sum(took_ms[: bisect_left(took_ms, 0)])
        start = 0
        for bucket, bound_ms in enumerate((*self._bounds_ms, took_ms[-1])):
            stop = bisect_right(took_ms, bound_ms, start)
            if stop > start:
                self._counts[bucket] += stop - start
                slowest_ms = took_ms[stop - 1]
                thing = things[began_ms.index(ended_ms - slowest_ms)]
                self._examples[bucket] = self._example(thing, slowest_ms, ended_s) or self._examples[bucket]
                start = stop

    def _example(self, thing: E, took_ms: int, ended_s: float) -> Exemplar | None:
        value = self._value(thing)
        if not value or len(self._label) + len(value) > EXEMPLAR_CHARACTERS or not PLAIN.fullmatch(value):
            return None
        return Exemplar({self._label: value}, max(took_ms, 0) / 1000, ended_s)

    def describe(self) -> Iterable[Metric]:
        """Its name, without values."""
        return [HistogramMetricFamily(self._series.name, self._series.text)]

    def collect(self) -> Iterable[Metric]:
        """The histogram as it is now."""
        total = 0
        buckets: list[tuple[str, float] | tuple[str, float, Exemplar]] = []
        for name, count, example in zip(self._names, self._counts, self._examples, strict=True):
            total += count
            buckets.append((name, float(total)) if example is None else (name, float(total), example))
        return [HistogramMetricFamily(self._series.name, self._series.text, buckets, self._sum_ms / 1000)]
