"""An outage is one line, however many partitions wait and however often they say so."""

from __future__ import annotations

from structlog.testing import capture_logs

from pipeline.kafka.events import BatchProduced, ProduceStalled
from pipeline.kafka.producer.stalls import Stalls


def test_one_line_when_it_begins_and_one_when_it_ends() -> None:
    """Twelve partitions wait for two minutes; the end is when the last of them has moved."""
    now = 0.0
    stalls = Stalls(lambda: now)
    with capture_logs() as told:
        for half_minute in range(1, 5):
            now = half_minute * 30.0
            for partition in range(12):
                stalls(ProduceStalled("a", partition, now))
        for partition in range(12):
            assert len(told) == 1
            stalls(BatchProduced("a", partition, 1, 10, now))
        stalls(BatchProduced("a", 0, 1, 10, 0.1))
    assert [(line["log_level"], line["seconds"]) for line in told] == [("warning", 30.0), ("info", 120.0)]


def test_batches_that_do_not_wait_are_no_news() -> None:
    """Only what was told to wait is told to move."""
    with capture_logs() as told:
        Stalls()(BatchProduced("a", 0, 1, 10, 0.1))
    assert not told
