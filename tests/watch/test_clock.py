"""A clock that is wrong is told from a clock that is right by what the brokers date, and by nothing else."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from faust.types import TP
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from pipeline.kafka.events import BatchProduced, ChunkDelivered
from pipeline.kafka.worker.log_bounds import LogBounds
from pipeline.watch.clock import TOLERANCE_S, Clock, apart_ms
from pipeline.watch.metrics import Metrics
from tests.admin import until_done
from tests.transform.test_reading import series
from tests.transform.test_worker import (
    ChainSettings,
    Start,
    payments,
    produce,
    start,  # noqa: F401 - a fixture
)

DIRECTORY = Path(__file__).parents[1] / "data" / "clock"
NOW_MS = 1_800_000_000_000.0
A = TP("webhooks", 0)


class Setting:
    """A clock that is `ahead_s` ahead of the brokers'."""

    def __init__(self, ahead_s: float) -> None:
        self.true_ms = NOW_MS
        self.ahead_s = ahead_s
        self.metrics = Metrics("sink")
        self.clock = Clock(self.metrics, lambda: self.true_ms + self.ahead_s * 1000)

    def produces(self, took_s: float = 0.02) -> None:
        """A batch is appended in the middle of its way."""
        appended_ms = int(self.true_ms + took_s * 500)
        self.true_ms += took_s * 1000
        self.clock(BatchProduced("operations", 0, 1, 10, took_s, appended_ms))

    def delivers(self, offset: int, age_s: float) -> None:
        """A record that lay in the log for a while."""
        self.clock(ChunkDelivered(A.topic, A.partition, offset, offset, 1, None, 1, int(self.true_ms - age_s * 1000)))

    def asks(self, end: int) -> None:
        """Where the log ends, as somebody just asked."""
        self.clock.saw({A: LogBounds(0, end, self.true_ms + self.ahead_s * 1000)})


@pytest.mark.parametrize("ahead_s", [0.0, 5.0, -5.0, 3_600.0, -7_200.0])
def test_a_producer_tells_both_sides(ahead_s: float) -> None:
    """Within the time that a batch was on its way; small differences are nobody's trouble."""
    setting = Setting(ahead_s)
    for _ in range(3):
        setting.produces()
    found = setting.clock.ahead_s
    assert found is not None
    assert abs(found - ahead_s) <= 0.02
    assert (setting.clock.text is None) == (abs(ahead_s) < TOLERANCE_S)
    assert setting.metrics.registry.get_sample_value("dodo_cio_clock_ahead_seconds") == found


def test_a_reader_tells_it_from_what_came_after_a_question() -> None:
    """However long records wait before they are delivered, a backlog is no wrong clock; and a wrong clock is found."""
    right, wrong = Setting(0.0), Setting(900.0)
    for number in range(10):
        for setting in (right, wrong):
            setting.asks(number)
            setting.true_ms += 600_000
            setting.delivers(number, age_s=500)
    assert right.clock.ahead_s == 0.0
    assert wrong.clock.ahead_s is not None
    assert 700 < wrong.clock.ahead_s <= 900
    behind = Setting(-900.0)
    for number in range(3):
        behind.delivers(number, age_s=1)
    assert behind.clock.text == "this machine's clock is 899 s behind the brokers': set it right (NTP)"


def test_little_is_no_evidence() -> None:
    """Before three samples nothing is known, and the series is no number; an old record alone proves nothing."""
    setting = Setting(3_600.0)
    for number in range(9):
        setting.delivers(number, age_s=10)
    assert setting.clock.ahead_s is None
    assert math.isnan(setting.metrics.registry.get_sample_value("dodo_cio_clock_ahead_seconds") or 0.0)
    for _ in range(2):
        setting.produces()
    assert setting.clock.text is None
    setting.produces()
    assert setting.clock.text is not None


def test_it_is_said_once_and_taken_back() -> None:
    """One warning when the clocks part, one line when they are together again."""
    setting = Setting(3_600.0)
    with capture_logs() as told:
        for _ in range(9):
            setting.produces()
        setting.ahead_s = 0.0
        for _ in range(9):
            setting.produces()
    assert [line["log_level"] for line in told] == ["warning", "info"]


@given(st.floats(-1e7, 1e7), st.floats(0, 1e6), st.floats(0, 1e6))
def test_a_right_clock_is_never_accused(sent_ms: float, before_ms: float, after_ms: float) -> None:
    """Whatever lies between the two moments is right; what lies outside is wrong by no more than is claimed."""
    dated_ms = sent_ms + before_ms
    assert apart_ms(dated_ms, sent_ms, dated_ms + after_ms) == 0


@pytest.mark.kafka
async def test_a_worker_an_hour_and_a_half_ahead(
    start: Start,  # noqa: F811 - the fixture
    chain_settings: ChainSettings,
) -> None:
    """It works, and says in the log, in `/ready` and in a series how wrong its clock is."""
    settings = await chain_settings(partitions=1)
    worker = await start(settings, CLOCK_AHEAD_S="5400", PYTHONPATH=str(DIRECTORY)).ready()
    for number in range(4):
        await produce(settings, payments(number * 10, 2))
        await until_done(settings, settings.transform_group, settings.webhooks_topic, worker.alive)
    await worker.answers("/ready", "s ahead of the brokers': set it right (NTP)")
    assert 5_300 < await series(worker, "dodo_cio_clock_ahead_seconds") < 5_401
    assert worker.log.read_text().count("clock and the brokers' disagree") == 1
    assert await worker.stop() == 0, worker.log.read_text()
