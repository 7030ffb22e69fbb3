"""Figures of so little work that there is nothing to divide by."""

from __future__ import annotations

import json
import math
from dataclasses import replace

from tests.bench.figures import Figure, median, p99, per
from tests.bench.race import Output, Result
from tests.bench.transform import _ratios

NOTHING = math.nan
RESULT = Result(webhooks_per_second=100.0, cpu_us=20.0, others_percent=0.0, repeated=0, reordered=0, scattered=0)


def test_what_a_clock_did_not_see_is_not_measured() -> None:
    """A processor time, a duration or a count of 0 gives no figure, and neither does what was made of one."""
    assert per(6, 3) == 2
    assert all(map(math.isnan, (per(1, 0), per(0, 0), per(1, NOTHING), per(NOTHING, 1), per(1, -0.001))))
    assert math.isnan(Output(5, 5, 0, 0, first_ms=7, first_records=5, last_ms=7).per_second)


def test_rounds_without_a_measurement_do_not_count() -> None:
    """The median is of those that have one; of too few values there is no percentile."""
    assert median([3.0, NOTHING, 1.0, 2.0]) == 2
    assert math.isnan(median([NOTHING]))
    assert math.isnan(median([]))
    assert math.isnan(p99([1.0]))
    found = Figure.of("b", "f", [NOTHING, 4.0, 2.0], "/s")
    assert (found.value, found.low, found.high) == (3, 2, 4)


def test_a_bound_is_neither_kept_nor_missed_by_nothing() -> None:
    """It is shown as not measured, has no verdict, and is valid JSON."""
    figure = Figure("b", "f", NOTHING, "x", at_least=1)
    assert (figure.value_text, figure.is_within, figure.verdict) == ("not measured", None, "")
    assert json.loads(json.dumps(figure.as_json(), allow_nan=False))["value"] is None


def test_contenders_that_used_no_processor_time() -> None:
    """On a quiet machine a few hundred records take less than one tick of the system's clock."""
    idle = replace(RESULT, cpu_us=0.0)
    rate, processor = _ratios({"ours-state": {0: idle}, "aiokafka": {0: idle}})
    assert rate.value == 1
    assert math.isnan(processor.value)
