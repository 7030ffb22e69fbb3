"""Series of the transport: records that were consumed, committed and produced, and rebalances.

The ages of a partition are counted by this process from when a record became the oldest, except the lag, which is
computed from the records' times. In an outage of the other side all of them grow except `partition_still_seconds`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from faust.types import TP
from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from pipeline.kafka import events
from pipeline.watch.metrics import NAMESPACE, SECONDS, Metrics, Series
from pipeline.watch.pulse import PartitionPulse
from pipeline.watch.vitals import Vitals


def observe_transport(metrics: Metrics) -> None:
    """Register the transport's series and their handlers."""
    delivered = metrics.counter("records_delivered", "Records put before the stage.", ["topic"])
    metrics.on(events.ChunkDelivered, lambda e: delivered.labels(e.topic).inc(e.records))

    produced = metrics.counter("records_produced", "Records that became durable.", ["topic"])
    size = metrics.counter("bytes_produced", "Bytes that became durable.", ["topic"])
    stalls = metrics.counter("produce_stalls", "Batches that wait and wait for their partition.", ["topic"])

    def on_produced(event: events.BatchProduced) -> None:
        produced.labels(event.topic).inc(event.records)
        size.labels(event.topic).inc(event.size_bytes)

    metrics.on(events.BatchProduced, on_produced)
    metrics.on(events.ProduceStalled, lambda e: stalls.labels(e.topic).inc())

    commits = metrics.counter(
        "commits",
        "Offset commits: stored, stale (membership gone), unavailable.",
        ["outcome"],
        begins=[("stored",), ("stale",), ("unavailable",)],
    )
    commit_time = metrics.histogram("commit_seconds", "Time of a stored offset commit.", buckets=SECONDS)

    def on_committed(event: events.OffsetsCommitted) -> None:
        commits.labels("stored").inc()
        commit_time.observe(event.took_s)

    metrics.on(events.OffsetsCommitted, on_committed)
    metrics.on(events.CommitFailed, lambda e: commits.labels("stale" if e.stale else "unavailable").inc())

    gaps = metrics.counter("offset_gaps", "Places where offsets were deleted unread.", ["topic"])
    seeks = metrics.counter("seeks_back", "Partitions read again because a fetch had run ahead.", ["topic"])
    restarts = metrics.counter("log_restarts", "Partitions that ended below what was read.", ["topic"])
    lost = metrics.counter("records_lost", "Records that were deleted unread.", ["topic", "partition"])
    rebalances = metrics.counter("rebalances", "Completed rebalances.")
    rebalance_time = metrics.histogram(
        "rebalance_seconds", "Time without records in a rebalance, state restored in between.", buckets=SECONDS
    )

    def on_rebalanced(event: events.RebalanceEnded) -> None:
        rebalances.inc()
        for tp in event.assigned:
            lost.labels(tp.topic, str(tp.partition))
            for counter in (gaps, seeks, restarts):
                counter.labels(tp.topic)
        rebalance_time.observe(event.took_s)

    metrics.on(events.RebalanceEnded, on_rebalanced)

    resumed = metrics.histogram("topic_resumed_seconds", "Time from a topic's return to its records.", buckets=SECONDS)
    metrics.on(events.TopicResumed, lambda e: resumed.observe(e.resumed_s))

    handovers = metrics.counter(
        "handovers",
        "Hand-overs before partitions went or the worker stopped.",
        ["drained", "committed"],
        begins=[(drained, committed) for drained in ("true", "false") for committed in ("true", "false")],
    )
    unfinished = metrics.counter("handover_unfinished_chunks", "Chunks that their next owner reads again.")

    def on_handed_over(event: events.HandOverEnded) -> None:
        handovers.labels(str(event.drained).lower(), str(event.committed).lower()).inc()
        unfinished.inc(event.unfinished)

    metrics.on(events.HandOverEnded, on_handed_over)

    def on_gap(event: events.GapSeen) -> None:
        gaps.labels(event.topic).inc()
        lost.labels(event.topic, str(event.partition)).inc(event.records)

    metrics.on(events.GapSeen, on_gap)
    metrics.on(events.SoughtBack, lambda e: seeks.labels(e.topic).inc())
    metrics.on(events.LogRestarted, lambda e: restarts.labels(e.topic).inc())


def show_vitals(metrics: Metrics, vitals: Callable[[], Vitals]) -> None:
    """Register the series that are read from the vital signs at each scrape."""

    def shown(name: str, text: str, read: Callable[[Vitals], int]) -> None:
        metrics.gauge(name, text).set_function(lambda: float(read(vitals())))

    shown("generation", "The consumer group's generation, -1 outside of it.", lambda v: v.generation)
    shown("partitions_assigned", "Partitions of this worker.", lambda v: v.partitions)
    shown("records_unread", "Records of its partitions at the broker, not fetched yet.", lambda v: v.unread)
    shown("records_undelivered", "Records that the stage holds and has not finished.", lambda v: v.undelivered)
    shown("records_uncommitted", "Records done without the group's offset saying so.", lambda v: v.uncommitted)


@dataclass(frozen=True, slots=True)
class PartitionFigures:
    """The figures of one assigned partition; `lag_records` is None until the broker has returned the log's end."""

    pulse: PartitionPulse
    lag_records: int | None = None
    lag_s: float = 0.0
    lost: int = 0


def _series(name: str, text: str) -> Series:
    return Series(f"{NAMESPACE}_{name}", "gauge", text, ("topic", "partition"))


FIGURES: Final[tuple[tuple[Series, Callable[[PartitionFigures], float | None]], ...]] = (
    (
        _series("partition_lag_records", "Records of an own partition that the group's offset says nothing of yet."),
        lambda one: one.lag_records,
    ),
    (
        _series(
            "partition_lag_seconds",
            "Age of the oldest of them by its time, 0 when none waits; while all lie at the broker, time since they "
            "were seen there.",
        ),
        lambda one: None if one.lag_records is None else one.lag_s,
    ),
    (
        _series(
            "partition_oldest_unfinished_seconds", "How long the oldest record in the stage's hands has been that."
        ),
        lambda one: one.pulse.unfinished_s,
    ),
    (
        _series("partition_commit_age_seconds", "How long the group's offset has stood still while records wait."),
        lambda one: one.pulse.commit_age_s,
    ),
    (
        _series(
            "partition_still_seconds", "How long nothing moved and nothing was tried again; above 300 `live` is 0."
        ),
        lambda one: one.pulse.still_s,
    ),
    (
        _series(
            "partition_lost_records",
            "Records that were deleted unread and are not acknowledged (`dodo-cio lag --acknowledge`), for a day.",
        ),
        lambda one: one.lost,
    ),
)


class Partitions(Collector):
    """The series of each assigned partition, read at each scrape: they appear and vanish with the assignment."""

    def __init__(self, read: Callable[[], Mapping[TP, PartitionFigures]]) -> None:
        self._read = read

    def describe(self) -> Iterable[Metric]:
        """Their names, without values."""
        return [GaugeMetricFamily(series.name, series.text, labels=series.labels) for series, _ in FIGURES]

    def collect(self) -> Iterable[Metric]:
        """One value a partition; none where it is unknown."""
        partitions = sorted(self._read().items())
        for series, value in FIGURES:
            family = GaugeMetricFamily(series.name, series.text, labels=series.labels)
            for tp, figures in partitions:
                known = value(figures)
                if known is not None:
                    family.add_metric([tp.topic, str(tp.partition)], known)
            yield family


def show_partitions(
    metrics: Metrics, partitions: Callable[[], Mapping[TP, PartitionFigures]], held_s: Callable[[], float]
) -> None:
    """Register the series that are read at each scrape."""
    metrics.collect(Partitions(partitions), *(series for series, _ in FIGURES))
    metrics.gauge(
        "held_seconds", "How long the stage has held its records back on purpose, 0 while they flow."
    ).set_function(held_s)
