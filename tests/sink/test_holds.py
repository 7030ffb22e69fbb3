"""Why nothing flows: the state machine, without a loop."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.sink.holds import Change, Holds


def failing(lanes: int, times: int, at: float = 0.0) -> Holds:
    """Lanes that all have work and failed so many times each, a second apart."""
    holds = Holds(8)
    for lane in range(lanes):
        holds.began(lane)
    for time in range(times):
        for lane in range(lanes):
            holds.failed(lane, "503", at + time)
    return holds


def test_an_outage_is_when_every_lane_fails_too_often_for_an_accident() -> None:
    """Six failures of each of eight lanes, and nothing else: no need to wait for half a minute to call it an outage."""
    holds = failing(8, 5)
    assert holds.cause is None
    for lane in range(7):
        assert holds.failed(lane, "503", 5.0) is None
    assert holds.failed(7, "503", 5.0) == Change(None, "outage", "503", 5.0)
    assert (holds.until, holds.since) == (10.0, 0.0)
    assert holds.accepted(40.0) == Change("outage", None, "503", 35.0)
    assert not holds.holds(0)


def test_few_lanes_take_longer() -> None:
    """Two lanes have failed too seldom for that: they wait for half a minute of nothing but failures, six of each."""
    holds = failing(2, 5)
    assert holds.failed(0, "503", 29.0) is None
    assert holds.failed(1, "503", 30.0) == Change(None, "outage", "503", 30.0)


def test_throttled_requests_are_no_evidence_of_an_outage() -> None:
    """Requests that are answered 429 are not counted among the failures, whatever fails beside them."""
    holds = Holds(2)
    for lane in range(2):
        holds.began(lane)
    for time in range(40):
        holds.failed(0, "429", time, throttled=True)
        holds.failed(1, "429", time, throttled=True)
        assert holds.failed(time % 2, "503", time) is None or time >= 30
    assert holds.cause == "outage", "when others fail as well, it is one all the same"


def test_failures_that_were_their_own_fault() -> None:
    """When all that failed was judged by what is in it, the outage was none."""
    holds = failing(2, 40)
    assert holds.cause == "outage"
    assert holds.judged(0, 50.0) is None
    assert holds.judged(1, 60.0) == Change("outage", None, "503", 45.0, "judged")


def test_a_long_pause_is_no_outage() -> None:
    """In a brown-out of hours eight lanes try seldom: half a minute without a success is eight attempts, no outage."""
    holds = failing(8, 2)
    for lane in range(8):
        assert holds.failed(lane, "503", 40.0 + lane) is None
    for lane in range(6):
        assert holds.failed(lane, "503", 80.0 + lane) is None
    assert holds.failed(6, "503", 90.0) is not None


def test_a_lane_alone_is_no_outage() -> None:
    """However often one lane fails, and however many are idle, others are not held for it."""
    assert failing(1, 1000).cause is None


def test_a_lane_that_works_prevents_an_outage() -> None:
    """As long as one lane with work has not failed, the others' failures are their own."""
    holds = Holds(8)
    for lane in range(3):
        holds.began(lane)
    for time in range(100):
        holds.failed(0, "503", time)
        holds.failed(1, "503", time)
    assert holds.cause is None


def test_a_success_begins_the_count_anew() -> None:
    """Failures before and after a success are two short troubles, not a long one."""
    holds = failing(2, 15)
    assert holds.cause is None
    holds.accepted(29.5)
    assert holds.failed(0, "503", 31.0) is None
    assert holds.failed(1, "503", 59.0) is None
    assert holds.cause is None


def test_throttling_is_no_outage() -> None:
    """A 429 says that Customer.io is there."""
    holds = Holds(2)
    for lane in range(2):
        holds.began(lane)
    for time in range(100):
        for lane in range(2):
            assert holds.failed(lane, "429", time, throttled=True) is None


def test_fresh_lanes_pass_during_an_outage() -> None:
    """Whoever has not failed yet does not wait for those that have."""
    holds = failing(2, 40)
    assert holds.cause == "outage"
    assert holds.holds(0)
    assert not holds.holds(5)
    holds.failed(5, "503", 41.0)
    assert holds.holds(5)


def test_one_asks_at_a_time_in_turns_and_ever_more_slowly() -> None:
    """The lane that asked least recently is next; intervals are 5, 10, 20, 40, 60, 60 s."""
    holds = failing(3, 40)
    asked, waits, waiting = [], [], {0, 1, 2}
    for _ in range(6):
        now = holds.until
        (lane,) = [one for one in waiting if holds.may_ask(one, waiting)]
        holds.asks(lane, now)
        assert not any(holds.may_ask(one, waiting) for one in waiting)
        holds.failed(lane, "503", now)
        asked.append(lane)
        waits.append(holds.until - now)
    assert asked == [0, 1, 2, 0, 1, 2]
    assert waits == [10, 20, 40, 60, 60, 60]


def test_credentials_hold_everybody_until_the_asker_is_answered() -> None:
    """A late success of a request from before does not open the gate, and late refusals do not tell it again."""
    holds = Holds(8)
    assert holds.refused(0, "credentials", "401", 1.0) == Change(None, "credentials", "401", 1.0)
    assert holds.refused(1, "credentials", "401", 1.1) is None
    assert holds.until == 6.0
    assert holds.accepted(1.2) is None
    assert holds.answered(2, 1.3) is None
    assert holds.holds(7)
    holds.asks(3, 6.0)
    holds.failed(3, "503", 6.5)
    assert (holds.cause, holds.until) == ("credentials", 16.5)
    holds.asks(4, 16.5)
    assert holds.answered(4, 17.0) == Change("credentials", None, "401", 16.0)


def test_in_doubt_only_those_wait_that_were_refused() -> None:
    """One operation that is refused, and nobody else there: its lane asks slowly, whoever comes passes and decides."""
    holds = Holds(8)
    assert holds.refused(3, "credentials", "403", 1.0, everybody=False) == Change(None, "credentials", "403", 1.0)
    assert holds.holds(3)
    assert not holds.holds(4)
    assert holds.accepted(2.0) == Change("credentials", None, "403", 1.0)


def test_a_doubt_that_is_confirmed() -> None:
    """When everybody turns out to be refused, all wait, and it is told once more; one alone then changes nothing."""
    holds = Holds(8)
    holds.refused(3, "credentials", "403", 1.0, everybody=False)
    assert holds.refused(4, "credentials", "401", 2.0) == Change("credentials", "credentials", "401", 1.0)
    assert holds.holds(7)
    assert holds.accepted(2.5) is None
    assert holds.refused(3, "credentials", "403", 3.0, everybody=False) is None
    assert holds.everybody


def test_a_doubt_ends_with_its_batch() -> None:
    """When the batch that was refused is another owner's now, its lane is free."""
    holds = Holds(8)
    holds.refused(3, "credentials", "403", 1.0, everybody=False)
    holds.ended(3)
    assert not holds.holds(3)


def test_partitions_that_move_take_their_failures_along() -> None:
    """A sink that may have no record left to ask with is held by nothing: neither an outage nor a refused key."""
    holds = failing(2, 40)
    assert holds.moved(50.0) == Change("outage", None, "503", 35.0, "moved")
    assert not holds.holds(0)
    holds.refused(0, "credentials", "401", 60.0)
    assert holds.moved(70.0) == Change("credentials", None, "401", 10.0, "moved")
    assert not holds.holds(7)
    assert holds.moved(80.0) is None


def test_one_cause_gives_way_to_another() -> None:
    """An outage that ends in a refusal of the credentials is told as such."""
    holds = failing(2, 40)
    holds.asks(0, 40.0)
    change = holds.refused(0, "region", "301", 41.0)
    assert change is not None
    assert (change.before, change.after) == ("outage", "region")


@given(st.lists(st.tuples(st.sampled_from("farnebljdm"), st.integers(0, 3)), max_size=200))
def test_someone_can_always_ask(steps: list[tuple[str, int]]) -> None:
    """Whatever happens, no state is without a way out: each held lane's time to ask comes."""
    holds, now = Holds(4), 0.0
    for what, lane in steps:
        now += 1.0
        match what:
            case "f":
                holds.failed(lane, "x", now)
            case "a":
                holds.answered(lane, now)
                holds.accepted(now)
            case "r":
                holds.refused(lane, "credentials", "x", now)
            case "d":
                holds.refused(lane, "credentials", "x", now, everybody=False)
            case "m":
                holds.moved(now)
            case "j":
                holds.judged(lane, now)
            case "n":
                holds.answered(lane, now)
            case "b":
                holds.began(lane)
            case "e":
                holds.ended(lane)
            case "l":
                holds.left(lane)
    for lane in range(4):
        holds.left(lane)
    assert holds.until <= now + 60
    held = {lane for lane in range(4) if holds.holds(lane)}
    assert len([lane for lane in held if holds.may_ask(lane, held)]) == bool(held)
