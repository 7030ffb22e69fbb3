"""Series of several processes as one: nothing is counted twice, forgotten, or falls back."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from pipeline.ingest.app import create_app
from pipeline.settings import Settings
from pipeline.watch.metrics import Metrics
from pipeline.watch.summed import GAUGES, counts, families, render

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class Registry:
    """One with a series of each kind."""

    def __init__(self) -> None:
        self.metrics = Metrics("ingest")
        self.requests = self.metrics.counter("requests", "Requests.", ["outcome"])
        self.seconds = self.metrics.histogram("seconds", "Seconds.", buckets=(0.1, 1.0))
        self.open = self.metrics.gauge("http_connections", "Open.")
        self.ready = self.metrics.gauge("ready", "Ready.")
        self.ahead = self.metrics.gauge("clock_ahead_seconds", "Ahead.")

    def series(self) -> list[Any]:
        """As they come over the wire."""
        return families(self.metrics.render()[0].decode())


def shown(*processes: Registry, ended: Any = None) -> dict[str, float]:
    """The sums, by line."""
    text = render([one.series() for one in processes], ended or {})[0].decode()
    lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
    assert len({name for name, _, _ in lines}) == len(lines)
    return {name.removeprefix("dodo_cio_"): float(value) for name, _, value in lines}


def test_each_kind_is_joined_in_its_way() -> None:
    """Counters and histograms add up, labels by labels; a gauge shows the one that matters."""
    one, other = Registry(), Registry()
    one.requests.labels("accepted").inc(3)
    other.requests.labels("accepted").inc(4)
    other.requests.labels("forged").inc()
    for seconds in (0.05, 0.5):
        one.seconds.observe(seconds)
        other.seconds.observe(seconds)
    one.open.set(10)
    other.open.set(20)
    one.ready.set(1)
    other.ready.set(0)
    one.ahead.set(-40)
    other.ahead.set(1)
    found = shown(one, other)
    assert found['requests_total{outcome="accepted"}'] == 7
    assert found['requests_total{outcome="forged"}'] == 1
    assert [found[f'seconds_bucket{{le="{le}"}}'] for le in ("0.1", "1.0", "+Inf")] == [2, 4, 4]
    assert (found["seconds_count"], found["http_connections"], found["ready"]) == (4, 30, 0)
    assert found["clock_ahead_seconds"] == -40
    assert found['build_info{stage="ingest",version="0.1.0"}'] == 1


def test_what_nobody_knows_is_not_known() -> None:
    """NaN is no value beside one, and the value when there is no other."""
    one, other = Registry(), Registry()
    one.ahead.set(math.nan)
    other.ahead.set(2)
    assert shown(one, other)["clock_ahead_seconds"] == 2
    other.ahead.set(math.nan)
    assert math.isnan(shown(one, other)["clock_ahead_seconds"])


@given(st.lists(st.tuples(st.sampled_from(["counts", "dies"]), st.integers(0, 2)), max_size=40))
def test_sums_never_fall_back(script: list[tuple[str, int]]) -> None:
    """Whichever processes end, and are replaced by new ones: what was counted and told stays counted."""
    processes, ended, counted = [Registry() for _ in range(3)], Counter[Any](), 0
    for step, number in script:
        if step == "counts":
            processes[number].requests.labels("accepted").inc()
            processes[number].seconds.observe(0.5)
            counted += 1
        else:
            ended.update(counts(processes[number].series()))
            processes[number] = Registry()
        found = shown(*processes, ended=ended)
        assert found.get('requests_total{outcome="accepted"}', 0) == counted
        assert found["seconds_count"] == found['seconds_bucket{le="1.0"}'] == counted


def test_both_formats() -> None:
    """Prometheus gets the format that it asks for."""
    one = Registry()
    one.requests.labels("accepted").inc()
    text, kind = render([one.series()], {}, "application/openmetrics-text; version=1.0.0")
    assert "openmetrics" in kind
    assert text.endswith(b"# EOF\n")
    assert list(text_string_to_metric_families(render([one.series()], {})[0].decode()))


def test_every_gauge_of_ingest_has_its_way() -> None:
    """A new gauge is decided on, not summed by chance."""
    metrics = create_app(Settings.load(dodo_webhook_secrets=SECRET)).state.metrics
    found = families(metrics.render()[0].decode())
    assert {one.name for one in found if one.type not in {"counter", "histogram"}} <= set(GAUGES)
