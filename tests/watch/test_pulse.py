"""What a worker's vital signs mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from faust.types import TP
from hypothesis import given
from hypothesis import strategies as st

from pipeline.watch.pulse import MAX_STEP_S, PATIENCE_S, Pulse, beat, live, ready
from pipeline.watch.vitals import PartitionVitals, Verdict, Vitals

ZERO, ONE = TP("webhooks", 0), TP("webhooks", 1)
LYING = PartitionVitals(unread=100)
IN_HAND = PartitionVitals(delivered=50, acknowledged=10, committed=10)
DONE = PartitionVitals(delivered=50, acknowledged=50, committed=10)
QUIET = PartitionVitals(delivered=50, acknowledged=50, committed=50)


def worker(zero: PartitionVitals = QUIET, one: PartitionVitals | None = None, **changes: Any) -> Vitals:
    """A healthy worker with these partitions."""
    places = {ZERO: zero} | ({ONE: one} if one is not None else {})
    healthy = Vitals(
        "transform", stopping=False, rebalancing=False, generation=3, partitions=len(places), places=places
    )
    return replace(healthy, **changes)


def pulse_of(*seen: tuple[float, Vitals]) -> Pulse:
    """The pulse after these looks, (seconds, vitals) each, with a beat a second in between."""
    pulse: Pulse | None = None
    (now, vitals), *rest = seen
    pulse = beat(pulse, vitals, now)
    for until, following in rest:
        while now + 1 < until:
            now += 1
            pulse = beat(pulse, vitals, now)
        now, vitals = until, following
        pulse = beat(pulse, vitals, now)
    return pulse


def watch(*seen: tuple[float, Vitals]) -> Verdict:
    """The verdict after these looks."""
    return live(pulse_of(*seen), seen[-1][1])


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        (IN_HAND, "its oldest unfinished record, offset 10, was neither finished nor tried again, and 40 records wait"),
        (DONE, "everything below offset 50 is done, and neither did the group's offset 10 move nor was a commit tried"),
        (LYING, "100 records can be read, and nothing was delivered"),
        (replace(QUIET, unread=3), "3 records can be read from offset 50 on, and nothing was delivered"),
    ],
    ids=["in hand", "done", "at the broker", "at the broker behind others"],
)
def test_stuck_with_work(place: PartitionVitals, reason: str) -> None:
    """A record that waits untouched for longer than the patience, wherever it is: restart, and say where it is."""
    stuck = worker(place)
    told = f"webhooks/0 has stood still for 301 s: {reason}"
    assert watch((0, stuck), (PATIENCE_S + 1, stuck)) == Verdict(ok=False, reason=told)
    assert watch((0, stuck), (PATIENCE_S, stuck)).ok


@pytest.mark.parametrize("place", [IN_HAND, DONE, LYING])
def test_others_hide_nothing(place: PartitionVitals) -> None:
    """A partition that stands still is found although another moves and is tried again all the while."""
    pulse: Pulse | None = None
    for second in range(int(PATIENCE_S) + 2):
        moving = PartitionVitals(second + 20, second + 10, second, attempts=second, tries=second)
        vitals = worker(place, moving, delivered=second, attempts=second)
        pulse = beat(pulse, vitals, second)
    assert pulse is not None
    assert live(pulse, vitals).reason.startswith("webhooks/0 has stood still for 301 s")


def test_later_records_are_no_progress_of_the_oldest() -> None:
    """Deliveries behind it do not hide a record that is never finished, and neither do commits of what is before it."""
    seen = [(5.0 * n, worker(replace(IN_HAND, delivered=50 + n, committed=min(n, 10)))) for n in range(62)]
    verdict = watch(*seen)
    assert not verdict.ok
    assert "oldest unfinished record, offset 10" in verdict.reason


@pytest.mark.parametrize(
    ("place", "moves"),
    [
        (IN_HAND, {"acknowledged": 11}),
        (IN_HAND, {"attempts": 1}),
        (DONE, {"committed": 11}),
        (DONE, {"tries": 1}),
        (LYING, {"delivered": 1, "acknowledged": 0, "committed": 0}),
        (LYING, {"attempts": 1}),
    ],
)
def test_each_clock_has_its_sign_of_life(place: PartitionVitals, moves: dict[str, int]) -> None:
    """One step of the right kind, an attempt included, starts the patience anew."""
    still, moved = worker(place), worker(replace(place, **moves))
    assert watch((0, still), (PATIENCE_S - 1, moved), (2 * PATIENCE_S - 3, moved)).ok
    assert not watch((0, still), (PATIENCE_S - 1, moved), (2 * PATIENCE_S + 2, moved)).ok


@pytest.mark.parametrize(
    ("place", "moves"),
    [(IN_HAND, {"tries": 1}), (IN_HAND, {"delivered": 60}), (DONE, {"attempts": 1}), (DONE, {"delivered": 60})],
)
def test_the_wrong_sign_is_none(place: PartitionVitals, moves: dict[str, int]) -> None:
    """A commit that is tried gets no record finished, and a record that is tried gets no offset committed."""
    still, moved = worker(place), worker(replace(place, **moves))
    assert not watch((0, still), (PATIENCE_S - 1, moved), (PATIENCE_S + 1, moved)).ok


def test_backpressure_is_judged_by_what_is_in_hand() -> None:
    """Records that lie at the broker are not fetched while the stage has its hands full, and that is all."""
    seen = [
        (20.0 * n, worker(replace(IN_HAND, acknowledged=10 + n, committed=10 + n, unread=10**6))) for n in range(30)
    ]
    assert watch(*seen).ok


def test_more_than_one() -> None:
    """The worst partition is named, and how many others there are."""
    both = worker(IN_HAND, LYING)
    verdict = watch((0, worker(IN_HAND)), (1, both), (PATIENCE_S + 3, both))
    assert verdict.reason.startswith("webhooks/0 has stood still for 303 s")
    assert verdict.reason.endswith("; the same of 1 more partitions")


def test_rebalances_alone_are_no_progress() -> None:
    """A group that goes from one generation to the next without moving a record is stuck."""
    assert not watch(*((60.0 * i, worker(IN_HAND, generation=i + 1)) for i in range(8))).ok


def test_a_partition_that_goes_is_forgotten() -> None:
    """What another worker owns now is its business, and coming back it begins anew."""
    mine, gone = worker(QUIET, IN_HAND), worker(QUIET)
    assert watch((0, mine), (PATIENCE_S - 1, gone), (PATIENCE_S, mine), (2 * PATIENCE_S - 2, mine)).ok


def test_idle_without_work() -> None:
    """A quiet night without a single webhook is no fault."""
    assert watch((0, worker()), (36_000, worker())) == Verdict(ok=True, reason="no record waits")


def test_what_is_said_of_a_live_worker() -> None:
    """How long nothing moved, and that it is tried again: never that work moved when only attempts did."""
    moved, still = worker(IN_HAND), worker(IN_HAND, delivered=1)
    assert watch((0, moved), (5, still), (12, still)).reason == "40 records wait; work moved 7 s ago"
    tried = worker(replace(IN_HAND, attempts=1), delivered=1, attempts=1)
    assert watch((0, moved), (5, still), (45, tried), (47, tried)).reason == (
        "40 records wait; work moved 42 s ago, tried again 2 s ago"
    )


@pytest.mark.parametrize("kind", ["holding", "fault"])
def test_a_hold_is_named_by_live(kind: str) -> None:
    """While the stage holds its records back `/live` says since when and why, and how many wait."""
    flowing = worker(IN_HAND)
    hold: dict[str, Any] = {kind: "Customer.io takes nothing (503)"}
    tried = [(10.0 * n, worker(replace(IN_HAND, attempts=n), attempts=n, **hold)) for n in range(1, 1_000)]
    verdict = watch((0, flowing), *tried)
    assert verdict == Verdict(ok=True, reason="held for 9980 s: Customer.io takes nothing (503); 40 records wait")


def test_a_hold_excuses_nobody() -> None:
    """A record that nobody has in hand is found in an outage too: the restart that brings it back loses nothing."""
    held = worker(IN_HAND, holding="Customer.io takes nothing")
    assert not watch((0, held), (PATIENCE_S + 1, held)).ok


@pytest.mark.parametrize(
    ("partitions", "reason"),
    [
        (4, "outside of the consumer group for 301 s while it holds 4 partitions"),
        (0, "outside of the consumer group for 301 s"),
    ],
)
def test_outside_of_the_group(partitions: int, reason: str) -> None:
    """A worker that fell out of the group for good is restarted even though it reads on."""
    lost = worker(generation=-1, partitions=partitions)
    pulse = beat(None, lost, 0)
    for second in range(1, int(PATIENCE_S) + 2):
        pulse = beat(pulse, replace(lost, delivered=second), second)
    assert live(pulse, lost) == Verdict(ok=False, reason=reason)


def test_nobody_to_join_with() -> None:
    """A worker that lost its place, and then the brokers that give it one, is left to wait: a restart would only add a
    start that fails. Once there is a coordinator the time runs."""  # noqa: D205, D209 - one promise
    away = worker(generation=-1, rebalancing=True, heartbeat_age_s=20.0, coordinator_away=True)
    assert watch((0, away), (3 * PATIENCE_S, away)).ok
    back = replace(away, coordinator_away=False)
    assert watch((0, away), (2 * PATIENCE_S, back), (3 * PATIENCE_S - 2, back)).ok
    assert not watch((0, away), (2 * PATIENCE_S, back), (3 * PATIENCE_S + 2, back)).ok


@pytest.mark.parametrize("place", [IN_HAND, LYING])
def test_brokers_that_are_away(place: PartitionVitals) -> None:
    """While no heartbeat is answered nothing may leave, and a restart would not help; once one is, the time runs."""
    away = worker(place, heartbeat_age_s=11.0)
    assert watch((0, away), (2 * PATIENCE_S, away)).ok
    back = replace(away, heartbeat_age_s=1.0)
    assert watch((0, away), (2 * PATIENCE_S, back), (3 * PATIENCE_S - 2, back)).ok
    assert not watch((0, away), (2 * PATIENCE_S, back), (3 * PATIENCE_S + 2, back)).ok


def test_rejoining_forgives() -> None:
    """Coming back into the group in time ends the count."""
    lost, back = worker(generation=-1), worker()
    assert watch((0, lost), (PATIENCE_S - 1, back), (PATIENCE_S + 1, lost), (2 * PATIENCE_S, lost)).ok


def test_waiting_for_another_system_is_never_dead() -> None:
    """A start that waits for a system that is down is left to wait: a restart would not bring it back."""
    waiting = worker(generation=-1, waiting_for="Customer.io")
    seconds = range(0, int(PATIENCE_S) * 3, 10)
    assert watch(*((second, waiting) for second in seconds)).ok
    assert not watch(*((second, replace(waiting, waiting_for=None)) for second in seconds)).ok


def test_stopping_is_never_dead() -> None:
    """A worker that is already stopping is left to finish."""
    stopping = worker(IN_HAND, stopping=True, generation=-1)
    assert watch((0, stopping), (PATIENCE_S * 3, stopping)).ok


@pytest.mark.parametrize("place", [IN_HAND, DONE, LYING])
def test_frozen_process(place: PartitionVitals) -> None:
    """Time in which the process was frozen is not held against it."""
    pulse = beat(beat(None, worker(place), 0), worker(place), 86_400)
    assert pulse.partitions[ZERO].still_s == MAX_STEP_S
    assert live(pulse, worker(place)).ok


# --- against an oracle ------------------------------------------------------------------------------------------------

ACTIONS = st.sampled_from(["nothing"] * 6 + ["deliver", "finish", "finish all", "commit", "attempt", "try", "arrive"])
LOOKS = st.lists(
    st.tuples(st.sampled_from([0.5, 1.0, 4.0, 30.0]), ACTIONS, ACTIONS),
    min_size=1,
    max_size=80,
)


class Line:
    """A partition that actions happen to."""

    def __init__(self) -> None:
        self.now = PartitionVitals()

    def do(self, action: str) -> PartitionVitals:
        """Its place after one action."""
        now = self.now
        delivered, acknowledged, committed = now.delivered or 0, now.acknowledged or 0, now.committed or 0
        match action:
            case "arrive":
                now = replace(now, unread=now.unread + 3)
            case "deliver" if now.unread:
                now = PartitionVitals(delivered + 1, acknowledged, committed, now.unread - 1, now.attempts, now.tries)
            case "finish" if now.undelivered:
                now = replace(now, acknowledged=acknowledged + 1)
            case "finish all" if now.undelivered:
                now = replace(now, acknowledged=delivered)
            case "commit" if now.uncommitted:
                now = replace(now, committed=acknowledged)
            case "attempt":
                now = replace(now, attempts=now.attempts + 1)
            case "try":
                now = replace(now, tries=now.tries + 1)
        self.now = now
        return now


def still_by_oracle(history: Sequence[tuple[float, PartitionVitals]]) -> float:
    """How long a partition has stood still, read off its whole history from the end backwards.

    Each entry is the time that counts since the one before, and the place.
    """
    pairs = list(pairwise(history))

    def run(*same: str, where: str, hands_free: bool = False) -> float:
        """How long records were in that place while nothing of `same` changed."""
        seconds = 0.0
        for (_, was), (step, now) in reversed(pairs):
            if not (getattr(was, where) and getattr(now, where)) or (hands_free and now.undelivered):
                break
            if any(getattr(was, name) != getattr(now, name) for name in same):
                break
            seconds += step
        return seconds

    return max(
        run("acknowledged", "attempts", where="undelivered"),
        run("committed", "tries", where="uncommitted"),
        run("delivered", "attempts", where="unread", hands_free=True),
    )


@given(LOOKS, st.sampled_from([20.0, 60.0]))
def test_each_partition_as_an_oracle_says(looks: list[tuple[float, str, str]], patience_s: float) -> None:
    """Whatever happens to two partitions, each has stood still for as long as its own history says, and the verdict is
    that of the worse one."""  # noqa: D205, D209 - one promise
    lines = {ZERO: Line(), ONE: Line()}
    histories: dict[TP, list[tuple[float, PartitionVitals]]] = {ZERO: [], ONE: []}
    pulse: Pulse | None = None
    now = 0.0
    for step, first, second in looks:
        now += step
        places = {ZERO: lines[ZERO].do(first), ONE: lines[ONE].do(second)}
        vitals = Vitals("sink", False, False, 1, 2, places=places)
        pulse = beat(pulse, vitals, now)
        for tp, place in places.items():
            histories[tp].append((min(step, MAX_STEP_S), place))
        still = {tp: still_by_oracle(history) for tp, history in histories.items()}
        assert {tp: one.still_s for tp, one in pulse.partitions.items()} == pytest.approx(still)
        assert live(pulse, vitals, patience_s).ok == (max(still.values()) <= patience_s)


@given(st.lists(st.floats(-100, 400), max_size=60))
def test_seconds_never_exceed_the_clock(steps: list[float]) -> None:
    """Whatever the clock does, seconds that are counted are between zero and the time that passed."""
    now, passed = 0.0, 0.0
    stuck = worker(IN_HAND, DONE, holding="held")
    pulse = beat(None, stuck, now)
    for step in steps:
        now += step
        passed += max(step, 0.0)
        pulse = beat(pulse, stuck, now)
        for tp in (ZERO, ONE):
            assert 0.0 <= pulse.partitions[tp].still_s <= passed + 1e-9 * len(steps)
        assert 0.0 <= pulse.held_s == pulse.moved_s <= passed + 1e-9 * len(steps)


# --- ready ------------------------------------------------------------------------------------------------------------


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
        (
            {"fault": "401 Unauthorized", "holding": "held"},
            Verdict(ok=False, reason="held until somebody acts: 401 Unauthorized"),
        ),
        (
            {"holding": "Customer.io takes nothing (503)"},
            Verdict(ok=True, reason="4 partitions assigned; held: Customer.io takes nothing (503)"),
        ),
        (
            {"holding": "Customer.io takes nothing (503)", "partitions": 0},
            Verdict(
                ok=True,
                reason="standing by: the group has more members than partitions; held: Customer.io takes nothing (503)",
            ),
        ),
    ],
)
def test_ready(changes: dict[str, Any], verdict: Verdict) -> None:
    """Ready means that records can flow now, or would if the other side took them; each no and each hold is named."""
    assert ready(worker(**{"partitions": 4, **changes})) == verdict


def test_a_topic_that_is_gone_is_not_ready() -> None:
    """Whatever else is well: no record can come, and a standby is not what this is."""
    verdict = ready(worker(partitions=0, gone=["dodo.webhooks"]))
    assert not verdict.ok
    assert "topic dodo.webhooks does not exist, or has no partitions: was it deleted?" in verdict.reason


def test_a_loss_is_said_and_stops_nobody() -> None:
    """A worker is ready with it, and says it in the same breath."""
    verdict = ready(worker(partitions=4, lost="LOST: 3 records of dodo.webhooks/1"))
    assert verdict.ok
    assert verdict.reason.endswith("; LOST: 3 records of dodo.webhooks/1")


def test_ready_does_not_ask_for_progress() -> None:
    """An outage of Customer.io takes no replica out of service: readiness ignores how long work waits."""
    assert ready(worker(PartitionVitals(10**6, 0, 0, 10**9))).ok


def test_a_thread_that_answers_nothing() -> None:
    """While nothing is known to wait, and whatever else moves: what would be read is not known either."""
    hung = worker(asked=True, answers=7)
    verdict = watch((0, hung), (PATIENCE_S + 1, hung))
    assert verdict == Verdict(False, "the consumer's thread has not answered for 301 s: nothing is read from Kafka")
    pulse: Pulse | None = None
    for second in range(2 * int(PATIENCE_S)):
        slow = worker(asked=True, answers=second // 10)
        pulse = beat(pulse, slow, second)
    assert pulse is not None
    assert live(pulse, slow).ok
    ending = worker(asked=True, answers=7, stopping=True)
    assert watch((0, ending), (PATIENCE_S + 1, ending)).ok


@pytest.mark.parametrize(("restoring", "told"), [("3 of 9 records restored", "3 of 9 records restored"), (None, "end")])
def test_partitions_that_never_begin_to_flow(restoring: str | None, told: str) -> None:
    """Their records wait as well: a restore or a rebalance that makes no step is over at some time."""
    settling = worker(rebalancing=True, restoring=restoring, heartbeat_age_s=1.0)
    verdict = watch((0, settling), (PATIENCE_S + 1, settling))
    assert not verdict.ok
    assert verdict.reason.startswith("no record has flowed for 301 s, without a step: ")
    assert told in verdict.reason


@pytest.mark.parametrize("change", [{"heartbeat_age_s": 11.0}, {"generation": -1}, {"stopping": True}])
def test_no_restart_makes_it_flow(change: dict[str, Any]) -> None:
    """Brokers that answer no heartbeat are away; outside of the group another clock runs, at a stop none does."""
    vitals = worker(rebalancing=True, heartbeat_age_s=1.0)
    vitals = replace(vitals, **change)
    pulse = pulse_of((0, vitals), (PATIENCE_S + 1, vitals))
    assert pulse.settling_s == 0


def test_a_restore_that_goes_on_is_waited_for() -> None:
    """Each step counts as an attempt, however long all of them take."""
    pulse: Pulse | None = None
    for second in range(3 * int(PATIENCE_S)):
        vitals = worker(rebalancing=True, heartbeat_age_s=1.0, attempts=second // 60)
        pulse = beat(pulse, vitals, second)
    assert pulse is not None
    assert live(pulse, vitals).ok
