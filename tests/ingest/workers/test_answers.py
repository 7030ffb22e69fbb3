"""What a probe is told of several workers."""

from __future__ import annotations

import pytest

from pipeline.ingest.workers.answers import Said, live, ready, status
from pipeline.watch.vitals import Verdict

YES, NO = Verdict(ok=True, reason="Kafka answers"), Verdict(ok=False, reason="no broker answers")


def said(number: int, ready_: Verdict | None = YES, live_: Verdict | None = YES, in_flight: int = 0) -> Said:
    """What a worker says."""
    return Said(number, 1000 + number, ready_, live_, {"in_flight": in_flight})


@pytest.mark.parametrize(
    ("workers", "stopping", "ok", "words"),
    [
        ([said(1), said(2)], False, True, "2 of 2 workers serve; Kafka answers"),
        ([said(2)], False, True, "1 of 2 workers serve"),
        ([], False, False, "none of the 2 workers serves yet"),
        ([said(1), said(2, NO)], False, False, "worker 2: no broker answers"),
        ([said(1, None, None), said(2)], False, False, "worker 1 does not answer"),
        ([said(1), said(2)], True, False, "stopping"),
    ],
)
def test_ready(workers: list[Said], stopping: bool, ok: bool, words: str) -> None:
    """A webhook may come to any that serves, so all of those must be ready; the answer names one that is not."""
    verdict = ready(workers, 2, stopping=stopping)
    assert verdict.ok is ok
    assert words in verdict.reason


@pytest.mark.parametrize(
    ("workers", "ok", "words"),
    [
        ([said(1), said(2)], True, "2 of 2"),
        ([said(1, NO), said(2, NO)], True, "2 of 2"),
        ([], True, "being started"),
        ([said(1), said(2, YES, NO)], False, "worker 2: no broker answers"),
        ([said(1), said(2, None, None)], False, "worker 2 does not answer"),
    ],
)
def test_live(workers: list[Said], ok: bool, words: str) -> None:
    """One that hangs, or is not worth keeping, is the whole's fault: the supervisor replaces only what has ended."""
    verdict = live(workers, 2)
    assert verdict.ok is ok
    assert words in verdict.reason


def test_status_has_sums_and_each() -> None:
    """Counts are summed, and each worker is told with its process."""
    told = status([said(1, in_flight=3), said(2, NO, None, in_flight=4)], 3, stopping=False)
    assert (told["in_flight"], told["workers_wanted"], told["ready"]) == (7, 3, False)
    assert [(one["worker"], one["pid"], one["ready"], one["live"]) for one in told["workers"]] == [
        (1, 1001, True, True),
        (2, 1002, False, False),
    ]
