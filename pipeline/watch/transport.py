"""Series of the transport: what came from Kafka, what was committed, how rebalances went, what was produced.

| series | labels | shows |
|---|---|---|
| `dodo_cio_records_delivered_total` | topic | records put before the stage |
| `dodo_cio_records_produced_total`, `dodo_cio_bytes_produced_total` | topic | records and bytes that became durable |
| `dodo_cio_produce_stalls_total` | topic | batches that wait and wait for their partition |
| `dodo_cio_commits_total` | outcome | offset commits: stored, stale (membership gone), unavailable |
| `dodo_cio_commit_seconds` | | time of a stored commit |
| `dodo_cio_rebalances_total` | | completed rebalances |
| `dodo_cio_rebalance_seconds` | | time without records, state restored in between |
| `dodo_cio_topic_resumed_seconds` | | from when a topic was missed last until its records flowed again |
| `dodo_cio_handovers_total` | drained, committed | hand-overs before partitions went or the worker stopped |
| `dodo_cio_handover_unfinished_chunks_total` | | chunks that their next owner reads again |
| `dodo_cio_offset_gaps_total` | topic | places where offsets were deleted before they were read |
| `dodo_cio_records_lost_total` | topic, partition | the records that lay there: lost to retention, or to somebody |
| `dodo_cio_seeks_back_total` | topic | partitions read again because a fetch had run ahead |
| `dodo_cio_log_restarts_total` | topic | partitions that ended below what was read: topic made anew or cut |
| `dodo_cio_generation` | | the group's generation, -1 outside of it |
| `dodo_cio_partitions_assigned` | | partitions of this worker |
| `dodo_cio_records_unread` | | records of its partitions at the broker, not fetched yet |
| `dodo_cio_records_undelivered` | | records that the stage holds and has not finished |
| `dodo_cio_records_uncommitted` | | records that are done without the group's offset saying so |
| `dodo_cio_partition_oldest_unfinished_seconds` | topic, partition | age of the oldest record in the stage's hands |
| `dodo_cio_partition_commit_age_seconds` | topic, partition | time since the group's offset moved, while records wait |
| `dodo_cio_partition_still_seconds` | topic, partition | time without a move or an attempt; `/live` fails above 300 |
| `dodo_cio_held_seconds` | | how long the stage has held its records back on purpose, 0 while they flow |
The ages are counted by this process from when a record became the oldest, not by its time. In an outage of the other
side the first two grow and the third does not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from faust.types import TP
from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from pipeline.kafka import events
from pipeline.watch.metrics import NAMESPACE, SECONDS, Metrics
from pipeline.watch.vitals import PartitionPulse, Vitals


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

    commits = metrics.counter("commits", "Offset commits by outcome.", ["outcome"])
    commit_time = metrics.histogram("commit_seconds", "Time of a stored offset commit.", buckets=SECONDS)

    def on_committed(event: events.OffsetsCommitted) -> None:
        commits.labels("stored").inc()
        commit_time.observe(event.took_s)

    metrics.on(events.OffsetsCommitted, on_committed)
    metrics.on(events.CommitFailed, lambda e: commits.labels("stale" if e.stale else "unavailable").inc())

    lost = metrics.counter("records_lost", "Records that were deleted unread.", ["topic", "partition"])
    rebalances = metrics.counter("rebalances", "Completed rebalances.")
    rebalance_time = metrics.histogram("rebalance_seconds", "Time without records in a rebalance.", buckets=SECONDS)

    def on_rebalanced(event: events.RebalanceEnded) -> None:
        rebalances.inc()
        for tp in event.assigned:
            lost.labels(tp.topic, str(tp.partition))  # there from the first: `increase` does not see a series begin
        rebalance_time.observe(event.took_s)

    metrics.on(events.RebalanceEnded, on_rebalanced)

    resumed = metrics.histogram("topic_resumed_seconds", "Time from a topic's return to its records.", buckets=SECONDS)
    metrics.on(events.TopicResumed, lambda e: resumed.observe(e.resumed_s))

    handovers = metrics.counter(
        "handovers", "Hand-overs before partitions went or the worker stopped.", ["drained", "committed"]
    )
    unfinished = metrics.counter("handover_unfinished_chunks", "Chunks that their next owner reads again.")

    def on_handed_over(event: events.HandOverEnded) -> None:
        handovers.labels(str(event.drained).lower(), str(event.committed).lower()).inc()
        unfinished.inc(event.unfinished)

    metrics.on(events.HandOverEnded, on_handed_over)

    gaps = metrics.counter("offset_gaps", "Places where offsets were deleted unread.", ["topic"])
    seeks = metrics.counter("seeks_back", "Partitions read again because a fetch had run ahead.", ["topic"])
    restarts = metrics.counter("log_restarts", "Partitions that ended below what was read.", ["topic"])

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


class Partitions(Collector):
    """What the watch knows of each assigned partition, read at each scrape: they come and go with the assignment."""

    def __init__(self, read: Callable[[], Mapping[TP, PartitionPulse]]) -> None:
        self._read = read

    def describe(self) -> Iterable[Metric]:
        """Their names, without values."""
        return [family for family, _ in _families()]

    def collect(self) -> Iterable[Metric]:
        """One value a partition."""
        pulses = sorted(self._read().items())
        for family, value in _families():
            for tp, pulse in pulses:
                family.add_metric([tp.topic, str(tp.partition)], value(pulse))
            yield family


def _families() -> list[tuple[GaugeMetricFamily, Callable[[PartitionPulse], float]]]:
    def family(name: str, text: str) -> GaugeMetricFamily:
        return GaugeMetricFamily(f"{NAMESPACE}_{name}", text, labels=["topic", "partition"])

    return [
        (
            family(
                "partition_oldest_unfinished_seconds", "How long the oldest record in the stage's hands has been that."
            ),
            lambda pulse: pulse.unfinished_s,
        ),
        (
            family("partition_commit_age_seconds", "How long the group's offset has stood still while records wait."),
            lambda pulse: pulse.commit_age_s,
        ),
        (
            family("partition_still_seconds", "How long nothing moved and nothing was tried again."),
            lambda pulse: pulse.still_s,
        ),
    ]


def show_pulse(
    metrics: Metrics, partitions: Callable[[], Mapping[TP, PartitionPulse]], held_s: Callable[[], float]
) -> None:
    """Register the series that are read from the pulse at each scrape."""
    metrics.registry.register(Partitions(partitions))
    metrics.gauge("held_seconds", "How long the stage has held its records back on purpose.").set_function(held_s)
