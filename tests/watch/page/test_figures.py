"""Figures of the page are those of the scrape."""

from __future__ import annotations

import math

import pytest

from pipeline.settings import Stage
from pipeline.watch.letters import observe_letters
from pipeline.watch.metrics import Metrics
from pipeline.watch.page.figures import families_of, figures


def test_sums_and_the_worst() -> None:
    """Records add up over partitions, of their ages the worst counts, and letters add up by class."""
    metrics = Metrics("sink")
    records = metrics.gauge("partition_lag_records", "Lag.", ["partition"])
    seconds = metrics.gauge("partition_lag_seconds", "Lag.", ["partition"])
    for partition, (lag, age) in enumerate([(3, 1.5), (4, 9.0)]):
        records.labels(str(partition)).set(lag)
        seconds.labels(str(partition)).set(age)
    observe_letters(metrics, ["refused", "oversize"])("refused", 2)
    found = figures("sink", families_of(metrics.registry))
    assert (found["lag_records"], found["lag_seconds"]) == (7, 9.0)
    assert found["letters"] == {"refused": 2}


def test_what_no_series_tells_is_no_zero() -> None:
    """A stage without partitions, budget or restore has none of these figures; nor has one that does not know yet."""
    metrics = Metrics("ingest")
    metrics.gauge("held_seconds", "Held.").set(math.nan)
    found = figures("ingest", families_of(metrics.registry))
    assert {name for name, value in found.items() if value is None} == {
        "partitions", "lag_records", "lost_records", "restore_records", "budget_per_second", "budget_used_per_second",
        "lag_seconds", "held_seconds",
    }  # fmt: skip
    assert found["done"] == 0


@pytest.mark.parametrize(
    ("stage", "series"),
    [("ingest", "ingest_webhooks"), ("transform", "webhooks"), ("sink", "operations_accepted")],
)
def test_what_a_stage_has_done(stage: Stage, series: str) -> None:
    """Its own count, whatever others there are."""
    metrics = Metrics(stage)
    done = metrics.counter(series, "Done.", ["type"])
    done.labels("a").inc(2)
    done.labels("b").inc(3)
    metrics.counter("records_delivered", "Records.").inc(1000)
    assert figures(stage, families_of(metrics.registry))["done"] == 5


def test_requests_that_were_not_taken() -> None:
    """Those that happened, by how they ended; what was stored is none of them."""
    metrics = Metrics("ingest")
    requests = metrics.counter("ingest_requests", "Requests.", ["outcome", "status"], begins=[("too-slow", "408")])
    for outcome, status, times in (("accepted", "200", 5), ("dead-lettered", "200", 1), ("forged", "401", 2)):
        requests.labels(outcome, status).inc(times)
    assert figures("ingest", families_of(metrics.registry))["turned_away"] == {"forged": 2}


def test_nothing_else_is_collected() -> None:
    """A look costs what it shows, and not what a whole scrape does."""
    metrics = Metrics("sink")
    metrics.gauge("memory_taken_bytes", "Memory.").set_function(lambda: pytest.fail("was looked at"))
    metrics.gauge("held_seconds", "Held.").set(4)
    assert figures("sink", families_of(metrics.registry))["held_seconds"] == 4
