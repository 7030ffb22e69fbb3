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


def test_an_outage_is_when_every_lane_fails_for_a_while() -> None:
    """All lanes with work, repeatedly, for 30 s: only then; the first success ends it."""
    holds = failing(8, 30)
    assert holds.cause is None
    assert holds.failed(0, "503", 30.0) == Change(None, "outage", "503", 30.0)
    assert holds.until == 35.0
    assert holds.accepted(40.0) == Change("outage", None, "503", 10.0)
    assert not holds.holds(0)


def test_a_lane_alone_is_no_outage() -> None:
    """However often one lane fails, and however many are idle, others are not held for it."""
    assert failing(1, 1000).cause is None


def test_a_lane_that_works_prevents_an_outage() -> None:
    """As long as one lane with work has not failed twice, the others' failures are their own."""
    holds = Holds(8)
    for lane in range(3):
        holds.began(lane)
    for time in range(100):
        holds.failed(0, "503", time)
        holds.failed(1, "503", time)
    assert holds.cause is None


def test_a_success_begins_the_count_anew() -> None:
    """Failures before and after a success are two short troubles, not a long one."""
    holds = failing(2, 29)
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


def test_one_cause_gives_way_to_another() -> None:
    """An outage that ends in a refusal of the credentials is told as such."""
    holds = failing(2, 40)
    holds.asks(0, 40.0)
    change = holds.refused(0, "region", "301", 41.0)
    assert change is not None
    assert (change.before, change.after) == ("outage", "region")


@given(st.lists(st.tuples(st.sampled_from("farnebl"), st.integers(0, 3)), max_size=200))
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
