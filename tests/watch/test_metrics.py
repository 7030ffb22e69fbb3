"""Records of what happened become series, by handlers alone."""

from __future__ import annotations

from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from pipeline.watch.metrics import NAMESPACE, RECORDS, Metrics


@dataclass(frozen=True)
class Sent:
    """Something happened."""

    kind: str
    count: int


@dataclass(frozen=True)
class SentLater(Sent):
    """Something else happened."""


def test_handlers_see_their_own_class() -> None:
    """A record reaches each handler of its class, none of another, and needs no handler at all."""
    metrics = Metrics("sink")
    sent = metrics.counter("sent", "Records sent.", ["kind"])
    seen: list[Sent] = []
    metrics.on(Sent, lambda record: sent.labels(record.kind).inc(record.count))
    metrics.on(Sent, seen.append)
    metrics(Sent("event", 3))
    metrics(Sent("event", 4))
    metrics(SentLater("event", 100))
    metrics(object())
    assert metrics.registry.get_sample_value("dodo_cio_sent_total", {"kind": "event"}) == 7
    assert seen == [Sent("event", 3), Sent("event", 4)]


def test_processes_do_not_share_a_registry() -> None:
    """Two stages in one process (tests, demo) never collide over a name."""
    first, second = Metrics("ingest"), Metrics("sink")
    first.counter("sent", "Records sent.").inc()
    second.counter("sent", "Records sent.")
    assert first.registry.get_sample_value("dodo_cio_sent_total") == 1
    assert second.registry.get_sample_value("dodo_cio_sent_total") == 0


def test_every_name_has_the_prefix_and_a_text() -> None:
    """All series but the standard process and garbage collector ones carry the prefix, and each is explained."""
    metrics = Metrics("transform")
    metrics.gauge("depth", "Depth of something.")
    metrics.histogram("chunk_records", "Size of something.", buckets=RECORDS).observe(3)
    content, _ = metrics.render()
    families = list(text_string_to_metric_families(content.decode()))
    assert {family.name for family in families} >= {"dodo_cio_depth", "dodo_cio_chunk_records", "dodo_cio_build_info"}
    for family in families:
        assert family.name.startswith((NAMESPACE, "process_", "python_gc_")), family.name
        assert family.documentation, family.name


def test_series_that_begin_at_nothing() -> None:
    """What is given as `begins` is there at 0, and whatever else is counted later."""
    metrics = Metrics("sink")
    sent = metrics.counter("sent", "Records sent.", ["kind"], begins=[("event",), ("identify",)])
    metrics.gauge("held", "Held.", ["cause"], begins=[("outage",)])
    sent.labels("event").inc()
    sent.labels("merge").inc()
    value = metrics.registry.get_sample_value
    assert [value("dodo_cio_sent_total", {"kind": kind}) for kind in ("event", "identify", "merge")] == [1, 0, 1]
    assert value("dodo_cio_held", {"cause": "outage"}) == 0


def test_failures_of_what_watches_begin_at_nothing() -> None:
    """Observers of each class that is handled, and each background task that is declared."""
    metrics = Metrics("sink")
    metrics.on(Sent, lambda _: None)
    value = metrics.registry.get_sample_value
    assert value("dodo_cio_observer_failures_total", {"event_class": "Sent"}) == 0
    assert value("dodo_cio_background_task_failures_total", {"task": "event loop lag"}) == 0
    assert value("dodo_cio_background_task_failures_total", {"task": "asyncio"}) == 0
