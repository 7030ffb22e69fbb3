"""Times of what ends together become one histogram, counted as if each had been observed alone."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, Metric
from prometheus_client.openmetrics import parser

from pipeline.watch.latency import Latency
from pipeline.watch.metrics import Metrics

BUCKETS = (0.01, 0.5, 1.0, 60.0)
ENDED_S = 1_800_000_000.0
OPENMETRICS = "application/openmetrics-text; version=1.0.0"
TOOK_MS = st.one_of(st.integers(-5000, 100_000), st.sampled_from([0, 9, 10, 11, 499, 500, 501, 1000, 60_000, 60_001]))


def latency(metrics: Metrics) -> Latency[str]:
    """One whose examples are called by their own text."""
    return Latency(metrics, "took_seconds", "How long.", buckets=BUCKETS, label="id", value=lambda text: text or None)


def parsed(text: str) -> list[Metric]:
    """As the library's own reader of OpenMetrics understands it."""
    return list(parser.text_string_to_metric_families(text))  # type: ignore[no-untyped-call] # upstream's


def observe(watched: Latency[str], *took_ms: int, ids: Sequence[str] | None = None) -> None:
    """Things that ended now and took so long."""
    names = ids or [f"id-{ms}" for ms in took_ms]
    watched.observe([int(ENDED_S * 1000) - ms for ms in took_ms], names, ENDED_S)


@given(st.lists(st.lists(TOOK_MS, max_size=30), max_size=5))
def test_it_counts_like_the_librarys_own(batches: list[list[int]]) -> None:
    """Buckets, count and sum are those of a Prometheus histogram that saw each time by itself; none is negative."""
    metrics, oracle = Metrics("sink"), CollectorRegistry()
    each = Histogram("dodo_cio_took_seconds", "How long.", registry=oracle, buckets=BUCKETS)
    watched = latency(metrics)
    for batch in batches:
        observe(watched, *batch)
        for ms in batch:
            each.observe(max(ms, 0) / 1000)
    for bound in ("0.01", "0.5", "1.0", "60.0", "+Inf"):
        labels = {"le": bound}
        name = "dodo_cio_took_seconds_bucket"
        assert metrics.registry.get_sample_value(name, labels) == oracle.get_sample_value(name, labels)
    count = metrics.registry.get_sample_value("dodo_cio_took_seconds_count")
    assert count == oracle.get_sample_value("dodo_cio_took_seconds_count")
    total, expected = (
        registry.get_sample_value("dodo_cio_took_seconds_sum") for registry in (metrics.registry, oracle)
    )
    assert total is not None
    assert expected is not None
    assert abs(total - expected) < 1e-6


def test_each_bucket_has_an_example() -> None:
    """OpenMetrics readers get the slowest of the latest that fell into a bucket, others see none."""
    metrics = Metrics("sink")
    watched = latency(metrics)
    observe(watched, 20, 300, 90_000, ids=["quick", "slower", "lost"])
    observe(watched, 30, ids=["later"])
    text = metrics.render(OPENMETRICS)[0].decode()
    examples = {
        sample.labels["le"]: (sample.exemplar.labels["id"], sample.exemplar.value)
        for family in parsed(text)
        for sample in family.samples
        if sample.exemplar
    }
    assert examples == {"0.5": ("later", 0.03), "+Inf": ("lost", 90.0)}
    assert "later" not in metrics.render()[0].decode()


def test_an_example_that_no_reader_would_take_is_left_out() -> None:
    """A name beyond OpenMetrics' 128 characters, none, or one that needs escapes costs no scrape."""
    metrics = Metrics("sink")
    watched = latency(metrics)
    observe(watched, 5, 20, 700, 90_000, ids=["x" * 127, "", 'a"b\\\n', "kept"])
    families = parsed(metrics.render(OPENMETRICS)[0].decode())
    found = [sample.exemplar.labels["id"] for family in families for sample in family.samples if sample.exemplar]
    assert found == ["kept"]
