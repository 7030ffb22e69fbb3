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
