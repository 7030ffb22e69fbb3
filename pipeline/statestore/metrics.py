"""The series of the customers' state: an observer of `events`, and what is read from the store at each scrape."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from pipeline.statestore import events
from pipeline.statestore.lmdb_store import Measure
from pipeline.statestore.validation import NOT_OURS
from pipeline.watch.metrics import NAMESPACE, OTHER, SECONDS, Metrics, Series

BYTES: Final = Series(f"{NAMESPACE}_mirror_bytes", "gauge", "Size of a partition's mirror on the disk.", ("partition",))
FACTS: Final = Series(f"{NAMESPACE}_mirror_facts", "gauge", "Facts in a partition's mirror.", ("partition",))


def observe_state(metrics: Metrics, kinds: Collection[str]) -> None:
    """Register the state's series and their handlers.

    Keys of other kinds than `kinds` are none of ours: what lies in a topic must not become endless label values.
    """
    known, stored = frozenset({*kinds, NOT_OURS}), frozenset({*kinds, events.TOMBSTONE})
    facts = metrics.counter(
        "facts_stored", "Facts durable in the customers' topic, by kind; `tombstone` for those taken away.", ["kind"]
    )
    size = metrics.counter("fact_bytes", "Bytes of the keys and values of stored facts.")
    seconds = metrics.histogram("facts_seconds", "Time until sent facts were stored.", buckets=SECONDS)

    def on_stored(event: events.ChangesStored) -> None:
        for kind, count in event.kinds.items():
            facts.labels(kind if kind in stored else OTHER).inc(count)
        size.inc(event.bytes)
        seconds.observe(event.took_s)

    metrics.on(events.ChangesStored, on_stored)

    anew = metrics.counter("mirrors_started_anew", "Mirrors that were missing or not trusted, and built anew.")
    metrics.on(events.StoreStartedAnew, lambda _: anew.inc())

    restores = metrics.counter(
        "restores", "Completed restores of the state of assigned partitions, before which no record is read."
    )
    restore_seconds = metrics.histogram("restore_seconds", "Time of a restore.", buckets=(*SECONDS, 300.0))
    records = metrics.counter("restored_records", "Records that restores have read.")
    remaining = metrics.gauge("restore_remaining_records", "Offsets that a running restore has before it.")

    def on_advanced(event: events.RestoreAdvanced) -> None:
        records.inc(event.records)
        remaining.set(event.remaining)

    def on_restored(event: events.StateRestored) -> None:
        restores.inc()
        remaining.set(0)
        restore_seconds.observe(event.took_s)

    metrics.on(events.RestoreAdvanced, on_advanced)
    metrics.on(events.StateRestored, on_restored)
    metrics.on(events.RestoreCalledOff, lambda _: remaining.set(0))

    aside = metrics.counter(
        "facts_kept_aside",
        "Records of the customers' topic that are no facts of this version, by kind; unknown kinds are `other`.",
        ["kind"],
        begins=[(kind,) for kind in sorted({*known, OTHER})],
    )

    def on_aside(event: events.RecordsKeptAside) -> None:
        for kind, count in event.kinds.items():
            aside.labels(kind if kind in known else OTHER).inc(count)

    metrics.on(events.RecordsKeptAside, on_aside)

    compacted = metrics.counter("mirror_compactions", "Mirrors written anew without what was deleted from them.")
    failed = metrics.counter(
        "mirror_compaction_failures",
        "Attempts to write a mirror anew that failed: what was forgotten is still on the disk.",
    )
    removed = metrics.counter("mirrors_removed", "Mirrors of partitions not owned any more that were deleted.")
    metrics.on(events.StoreCompacted, lambda _: compacted.inc())
    metrics.on(events.CompactionFailed, lambda _: failed.inc())
    metrics.on(events.StoreRemoved, lambda _: removed.inc())

    gaps = metrics.counter("changelog_gap_records", "Records of another owner that lay between this worker's.")
    metrics.on(events.GapRead, lambda e: gaps.inc(e.records))


def show_sizes(metrics: Metrics, stores: Callable[[], Mapping[int, Measure]]) -> None:
    """Register what is read at each scrape: `mirrors()` has each partition that is owned."""
    metrics.collect(StoreSizes(stores), BYTES, FACTS)


class StoreSizes(Collector):
    """The local mirrors of the partitions that are owned; they come and go with the assignment."""

    def __init__(self, read: Callable[[], Mapping[int, Measure]]) -> None:
        self._read = read

    def describe(self) -> Iterable[Metric]:
        """Their names, without values."""
        return [GaugeMetricFamily(series.name, series.text, labels=series.labels) for series in (BYTES, FACTS)]

    def collect(self) -> Iterable[Metric]:
        """One value a partition."""
        size, facts = (GaugeMetricFamily(one.name, one.text, labels=one.labels) for one in (BYTES, FACTS))
        for partition, measure in sorted(self._read().items()):
            size.add_metric([str(partition)], measure.bytes)
            facts.add_metric([str(partition)], measure.values)
        return [size, facts]
