"""What a worker's vital signs mean."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.watch.vitals import MAX_STEP_S, PATIENCE_S, Pulse, Verdict, Vitals, beat, live, ready

HEALTHY = Vitals(stage="transform", stopping=False, rebalancing=False, generation=3, partitions=4, unread=100)


def watch(*seen: tuple[float, Vitals]) -> Verdict:
    """The verdict after these looks, (seconds, vitals) each, with a beat a second in between."""
    pulse: Pulse | None = None
    (now, vitals), *rest = seen
    pulse = beat(pulse, vitals, now)
    for until, following in rest:
        while now + 1 < until:
            now += 1
            pulse = beat(pulse, vitals, now)
        now, vitals = until, following
        pulse = beat(pulse, vitals, now)
    return live(pulse, vitals)


def test_stuck_with_work() -> None:
    """Records wait and nothing moves for longer than the patience: restart."""
    verdict = watch((0, HEALTHY), (PATIENCE_S + 1, HEALTHY))
    assert verdict == Verdict(
        ok=False,
        reason="100 records wait and nothing was delivered, acknowledged, committed or retried for 301 s",
    )


def test_within_patience() -> None:
    """Just as long as the patience is still alive."""
    assert watch((0, HEALTHY), (PATIENCE_S, HEALTHY)).ok


@pytest.mark.parametrize("sign", ["delivered", "acknowledged", "committed", "attempts"])
def test_any_progress_is_life(sign: str) -> None:
    """One step of any kind, a retry against a dead API included, starts the patience anew."""
    changes: dict[str, Any] = {sign: 1}
    moved = replace(HEALTHY, **changes)
    assert watch((0, HEALTHY), (PATIENCE_S - 1, moved), (2 * PATIENCE_S - 3, moved)).ok
    assert not watch((0, HEALTHY), (PATIENCE_S - 1, moved), (2 * PATIENCE_S + 2, moved)).ok


def test_rebalances_alone_are_no_progress() -> None:
    """A group that goes from one generation to the next without moving a record is stuck."""
    assert not watch(*((60.0 * i, replace(HEALTHY, generation=i + 1)) for i in range(8))).ok


def test_idle_without_work() -> None:
    """A quiet night without a single webhook is no fault."""
    quiet = replace(HEALTHY, unread=0)
    assert watch((0, quiet), (36_000, quiet)) == Verdict(ok=True, reason="no record waits")


@pytest.mark.parametrize("where", ["unread", "undelivered", "uncommitted"])
def test_work_may_wait_anywhere(where: str) -> None:
    """Work that nobody touches is stuck wherever it lies: at the broker, in memory, or done without a commit."""
    changes: dict[str, Any] = {"unread": 0, where: 7}
    held = replace(HEALTHY, **changes)
    assert "7 records wait" in watch((0, held), (PATIENCE_S + 1, held)).reason


@pytest.mark.parametrize(
    ("partitions", "reason"),
    [
        (4, "outside of the consumer group for 301 s while it holds 4 partitions"),
        (0, "outside of the consumer group for 301 s"),
    ],
)
def test_outside_of_the_group(partitions: int, reason: str) -> None:
    """A worker that fell out of the group for good is restarted even though it reads on."""
    lost = replace(HEALTHY, generation=-1, partitions=partitions)
    pulse = beat(None, lost, 0)
    for second in range(1, int(PATIENCE_S) + 2):
        pulse = beat(pulse, replace(lost, delivered=second), second)
    assert live(pulse, lost) == Verdict(ok=False, reason=reason)


def test_rejoining_forgives() -> None:
    """Coming back into the group in time ends the count."""
    lost = replace(HEALTHY, generation=-1, unread=0)
    back = replace(HEALTHY, unread=0)
    assert watch((0, lost), (PATIENCE_S - 1, back), (PATIENCE_S + 1, lost), (2 * PATIENCE_S, lost)).ok


def test_waiting_for_another_system_is_never_dead() -> None:
    """A start that waits for a system that is down is left to wait: a restart would not bring it back."""
    waiting = replace(HEALTHY, generation=-1, unread=0, waiting_for="Customer.io")
    seconds = range(0, int(PATIENCE_S) * 3, 10)
    assert watch(*((second, waiting) for second in seconds)).ok
    assert not watch(*((second, replace(waiting, waiting_for=None)) for second in seconds)).ok


def test_stopping_is_never_dead() -> None:
    """A worker that is already stopping is left to finish."""
    stopping = replace(HEALTHY, stopping=True, generation=-1)
    assert watch((0, stopping), (PATIENCE_S * 3, stopping)).ok


def test_frozen_process() -> None:
    """Time in which the process was frozen is not held against it."""
    pulse = beat(beat(None, HEALTHY, 0), HEALTHY, 86_400)
    assert pulse.idle_s == MAX_STEP_S
    assert live(pulse, HEALTHY).ok


@given(st.lists(st.floats(-100, 400), max_size=60))
def test_idle_never_exceeds_the_clock(steps: list[float]) -> None:
    """Whatever the clock does, idle seconds are between zero and the time that passed."""
    now, passed = 0.0, 0.0
    pulse = beat(None, HEALTHY, now)
    for step in steps:
        now += step
        passed += max(step, 0.0)
        pulse = beat(pulse, HEALTHY, now)
        assert 0.0 <= pulse.idle_s <= passed + 1e-9 * len(steps)


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, Verdict(ok=True, reason="4 partitions assigned")),
        (
            {"partitions": 0},
            Verdict(ok=True, reason="standing by: the group has more members than partitions"),
        ),
        ({"rebalancing": True}, Verdict(ok=False, reason="the consumer group is rebalancing")),
        (
            {"generation": -1, "waiting_for": "Customer.io"},
            Verdict(ok=False, reason="the start waits for Customer.io"),
        ),
        ({"generation": -1}, Verdict(ok=False, reason="not a member of the consumer group")),
        ({"heartbeat_age_s": 1.2}, Verdict(ok=True, reason="4 partitions assigned")),
        (
            {"heartbeat_age_s": 25.4},
            Verdict(ok=False, reason="the brokers have answered no heartbeat for 25 s"),
        ),
        ({"stopping": True}, Verdict(ok=False, reason="stopping")),
    ],
)
def test_ready(changes: dict[str, Any], verdict: Verdict) -> None:
    """Ready means that records can flow now; each no names its reason."""
    assert ready(replace(HEALTHY, **changes)) == verdict


def test_ready_does_not_ask_for_progress() -> None:
    """An outage of Customer.io takes no replica out of service: readiness ignores how long work waits."""
    assert ready(replace(HEALTHY, unread=10**9, undelivered=10**6)).ok
