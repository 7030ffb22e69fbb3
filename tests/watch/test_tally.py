"""What is fed with every webhook is shown as prometheus_client would show it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from pipeline.watch.metrics import Metrics
from pipeline.watch.tally import CounterTally, HistogramTally

BUCKETS = (1, 2.5, 10, 250_000)
OUTCOMES = st.sampled_from(["accepted", 'a "quoted" one', "two\nlines", ""])
VALUES = st.floats(-1, 300_000, allow_nan=False) | st.sampled_from(BUCKETS)
OPEN_METRICS = "application/openmetrics-text; version=1.0.0"


@pytest.mark.parametrize("accept", ["", OPEN_METRICS])
@given(counted=st.lists(st.tuples(OUTCOMES, st.sampled_from([0, 200, 503]))))
def test_a_counter_is_shown_as_the_librarys(accept: str, counted: list[tuple[str, int]]) -> None:
    """Names, texts, labels and values are the same in both formats, those that begin at 0 included."""
    ours, library = Metrics("ingest"), Metrics("ingest")
    tally = CounterTally(ours, "sent", "Sent.", ["outcome", "status"], begins=[("accepted", 200)])
    counter = library.counter("sent", "Sent.", ["outcome", "status"], begins=[("accepted", "200")])
    for outcome, status in counted:
        tally.add(outcome, status)
        counter.labels(outcome, status).inc()
    assert _shown(ours, accept) == _shown(library, accept)
    assert ours.series == library.series


@pytest.mark.parametrize("accept", ["", OPEN_METRICS])
@given(observed=st.lists(st.tuples(OUTCOMES, VALUES)))
def test_a_histogram_is_shown_as_the_librarys(accept: str, observed: list[tuple[str, float]]) -> None:
    """Buckets, count and sum are the same, also of values that are a bucket's bound, with labels and without."""
    ours, library = Metrics("ingest"), Metrics("ingest")
    tally = HistogramTally(ours, "waited_seconds", "Waited.", ["outcome"], buckets=BUCKETS)
    histogram = library.histogram("waited_seconds", "Waited.", ["outcome"], buckets=BUCKETS)
    all_of_ours = HistogramTally(ours, "all_seconds", "All.", buckets=BUCKETS).of()
    all_of_the_librarys = library.histogram("all_seconds", "All.", buckets=BUCKETS)
    for outcome, value in observed:
        tally.of(outcome).observe(value)
        histogram.labels(outcome).observe(value)
        all_of_ours.observe(value)
        all_of_the_librarys.observe(value)
    assert _shown(ours, accept) == _shown(library, accept)
    assert ours.series == library.series


def test_a_name_is_taken_once() -> None:
    """Two series of one name in a process are refused, as the library's are."""
    metrics = Metrics("ingest")
    CounterTally(metrics, "sent", "Sent.", [])
    with pytest.raises(ValueError, match="Duplicated"):
        metrics.counter("sent", "Sent.")


def test_what_is_shown_can_be_read() -> None:
    """A parser of the format reads the numbers back."""
    metrics = Metrics("ingest")
    HistogramTally(metrics, "waited_seconds", "Waited.", buckets=BUCKETS).of().observe(2.5)
    families = {family.name: family for family in text_string_to_metric_families(metrics.render()[0].decode())}
    found = {
        sample.labels["le"]: sample.value for sample in families["dodo_cio_waited_seconds"].samples if sample.labels
    }
    assert found == {"1.0": 0, "2.5": 1, "10.0": 1, "250000.0": 1, "+Inf": 1}


def _shown(metrics: Metrics, accept: str) -> str:
    text = metrics.render(accept)[0].decode()
    return "\n".join(
        sorted(
            line for line in text.splitlines() if "waited_seconds" in line or "all_seconds" in line or "_sent" in line
        )
    )
