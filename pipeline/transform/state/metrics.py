"""The series of the customers' state.

| series | labels | shows |
|---|---|---|
| `dodo_cio_facts_stored_total` | kind | facts durable in the customers' topic, `tombstone` for those taken away |
| `dodo_cio_fact_bytes_total` | | bytes of their keys and values |
| `dodo_cio_facts_seconds` | | time from sending facts until they are durable and in the mirror |
| `dodo_cio_mirror_bytes` | partition | size of a partition's mirror on the disk |
| `dodo_cio_mirrors_started_anew_total` | | mirrors that were missing or not trusted, and built from the topic |
| `dodo_cio_restores_total` | | completed restores |
| `dodo_cio_restore_seconds` | | time of a restore |
| `dodo_cio_restored_records_total` | | records that restores have read |
| `dodo_cio_restore_remaining_records` | | offsets that a running restore has before it |
| `dodo_cio_facts_kept_aside_total` | kind | records of the topic that are no facts of this version |
| `dodo_cio_mirror_compactions_total` | | mirrors written anew without what was deleted from them |
| `dodo_cio_mirror_compaction_failures_total` | | attempts at it that failed: what was forgotten is still on the disk |
| `dodo_cio_mirrors_removed_total` | | mirrors of partitions not owned any more that were deleted |
| `dodo_cio_changelog_gap_records_total` | | records of another owner that lay between this worker's |
"""

from __future__ import annotations

from typing import Final

from pipeline.transform.state import events
from pipeline.transform.state.border import NOT_OURS
from pipeline.transform.state.shape import SHAPES
from pipeline.watch.metrics import SECONDS, Metrics

KNOWN: Final = frozenset({*SHAPES, NOT_OURS})
OTHER: Final = "other"
"""A kind that is none: what lies in a topic must not become endless label values."""


def observe_state(metrics: Metrics) -> None:
    """Register the state's series and their handlers."""
    facts = metrics.counter("facts_stored", "Facts durable in the customers' topic, by kind.", ["kind"])
    size = metrics.counter("fact_bytes", "Bytes of the keys and values of stored facts.")
    seconds = metrics.histogram("facts_seconds", "Time until sent facts were stored.", buckets=SECONDS)
    mirror = metrics.gauge("mirror_bytes", "Size of a partition's mirror on the disk.", ["partition"])

    def on_stored(event: events.FactsStored) -> None:
        for kind, count in event.kinds.items():
            facts.labels(kind).inc(count)
        size.inc(event.bytes)
        seconds.observe(event.took_s)
        mirror.labels(str(event.partition)).set(event.mirror_bytes)

    metrics.on(events.FactsStored, on_stored)

    anew = metrics.counter("mirrors_started_anew", "Mirrors that were missing or not trusted, and built anew.")
    metrics.on(events.MirrorStartedAnew, lambda _: anew.inc())

    restores = metrics.counter("restores", "Completed restores.")
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

    aside = metrics.counter("facts_kept_aside", "Records of the topic that are no facts of this version.", ["kind"])

    def on_aside(event: events.FactsKeptAside) -> None:
        for kind, count in event.kinds.items():
            aside.labels(kind if kind in KNOWN else OTHER).inc(count)

    metrics.on(events.FactsKeptAside, on_aside)

    compacted = metrics.counter("mirror_compactions", "Mirrors written anew without what was deleted from them.")
    failed = metrics.counter("mirror_compaction_failures", "Attempts at it that failed.")
    removed = metrics.counter("mirrors_removed", "Mirrors of partitions not owned any more that were deleted.")
    metrics.on(events.MirrorCompacted, lambda _: compacted.inc())
    metrics.on(events.CompactionFailed, lambda _: failed.inc())
    metrics.on(events.MirrorRemoved, lambda _: removed.inc())

    gaps = metrics.counter("changelog_gap_records", "Records of another owner that lay between this worker's.")
    metrics.on(events.GapRead, lambda e: gaps.inc(e.records))
