"""Events of the transport move the documented series."""

from __future__ import annotations

from faust.types import TP

from pipeline.kafka import events
from pipeline.watch.metrics import Metrics
from pipeline.watch.pulse import PartitionPulse
from pipeline.watch.transport import PartitionFigures, observe_transport, show_partitions, show_vitals
from pipeline.watch.vitals import PartitionVitals, Vitals

TP0 = TP("webhooks", 0)
SEEN = (
    events.ChunkDelivered("webhooks", 0, 10, 19, 10, 30, 4),
    events.OffsetsCommitted({TP0: 20}, 4, 0.02),
    events.CommitFailed({TP0: 20}, 4, stale=True),
    events.CommitFailed({TP0: 20}, 4, stale=False),
    events.RebalanceEnded(5, frozenset({TP0}), 1.5),
    events.HandOverEnded(4, drained=True, committed=False, unfinished=2, took_s=0.1),
    events.GapSeen("webhooks", 0, 5, 7),
    events.SoughtBack("webhooks", 0, 5),
    events.LogRestarted("webhooks", 0, 5, 0),
    events.ProduceStalled("operations", 1, 30.0),
    events.BatchProduced("operations", 1, 200, 40_000, 0.01),
)


def test_each_event_moves_its_series() -> None:
    """Every event of the transport ends in the series that its documentation names."""
    metrics = Metrics("transform")
    observe_transport(metrics)
    for event in SEEN:
        metrics(event)
    expected: list[tuple[str, dict[str, str], float]] = [
        ("records_delivered_total", {"topic": "webhooks"}, 10),
        ("commits_total", {"outcome": "stored"}, 1),
        ("commits_total", {"outcome": "stale"}, 1),
        ("commits_total", {"outcome": "unavailable"}, 1),
        ("commit_seconds_sum", {}, 0.02),
        ("rebalances_total", {}, 1),
        ("rebalance_seconds_sum", {}, 1.5),
        ("handovers_total", {"drained": "true", "committed": "false"}, 1),
        ("handover_unfinished_chunks_total", {}, 2),
        ("offset_gaps_total", {"topic": "webhooks"}, 1),
        ("records_lost_total", {"topic": "webhooks", "partition": "0"}, 2),
        ("seeks_back_total", {"topic": "webhooks"}, 1),
        ("log_restarts_total", {"topic": "webhooks"}, 1),
        ("produce_stalls_total", {"topic": "operations"}, 1),
        ("records_produced_total", {"topic": "operations"}, 200),
        ("bytes_produced_total", {"topic": "operations"}, 40_000),
    ]
    for name, labels, value in expected:
        assert metrics.registry.get_sample_value(f"dodo_cio_{name}", labels) == value, name


def test_vitals_are_read_at_each_scrape() -> None:
    """The gauges show the vital signs of the moment of the scrape."""
    vitals = Vitals("sink", False, False, 7, 3, places={TP0: PartitionVitals(17, 12, 10, unread=11)})
    metrics = Metrics("sink")
    show_vitals(metrics, lambda: vitals)
    value = metrics.registry.get_sample_value
    assert [
        value(f"dodo_cio_{name}")
        for name in (
            "generation",
            "partitions_assigned",
            "records_unread",
            "records_undelivered",
            "records_uncommitted",
        )
    ] == [7, 3, 11, 5, 2]
    vitals = Vitals("sink", False, True, -1, 0)
    assert value("dodo_cio_generation") == -1


def test_partitions_are_read_at_each_scrape() -> None:
    """Each assigned partition has its ages, and one that goes has none any more."""
    place = PartitionVitals()
    pulse = PartitionPulse(place, stage_s=3.0, unfinished_s=400.0, commit_age_s=401.0)
    shown_now = {
        TP0: PartitionFigures(pulse, 17, 2.5, 3),
        TP("webhooks", 11): PartitionFigures(PartitionPulse(place, fetch_s=7.0)),
    }
    metrics = Metrics("sink")
    show_partitions(metrics, lambda: shown_now, lambda: 42.0)

    def shown(partition: str) -> list[float | None]:
        labels = {"topic": "webhooks", "partition": partition}
        return [
            metrics.registry.get_sample_value(f"dodo_cio_partition_{name}", labels)
            for name in (
                "oldest_unfinished_seconds", "commit_age_seconds", "still_seconds", "lag_records", "lag_seconds",
                "lost_records",
            )
        ]  # fmt: skip

    unknown = [0.0, 0.0, 7.0, None, None, 0.0]
    assert (shown("0"), shown("11")) == ([400.0, 401.0, 3.0, 17.0, 2.5, 3.0], unknown), "unknown is never 0"
    del shown_now[TP0]
    assert (shown("0"), shown("11")) == ([None] * 6, unknown)
    assert metrics.registry.get_sample_value("dodo_cio_held_seconds") == 42.0
    assert 'dodo_cio_partition_still_seconds{partition="11",topic="webhooks"} 7.0' in metrics.render()[0].decode()


def test_an_assignment_begins_at_nothing_lost() -> None:
    """What an alert looks at is there at 0 as soon as a partition is assigned: an increase from nowhere is none."""
    metrics = Metrics("sink")
    observe_transport(metrics)
    metrics(events.RebalanceEnded(1, frozenset({TP0}), 0.1))
    for name in ("records_lost_total", "offset_gaps_total", "seeks_back_total", "log_restarts_total"):
        labels = {"topic": "webhooks"} | ({"partition": "0"} if name == "records_lost_total" else {})
        assert metrics.registry.get_sample_value(f"dodo_cio_{name}", labels) == 0, name
    for outcome in ("stored", "stale", "unavailable"):
        assert metrics.registry.get_sample_value("dodo_cio_commits_total", {"outcome": outcome}) == 0
