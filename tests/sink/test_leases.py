"""Leases: what is in force when, and who gets how much."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.sink.leases import DRIFT_S, LEASE_S, RETURN_S, Borrowed, Lease, Lent, divide
from pipeline.sink.pace import WINDOW_S


def test_nobody_has_it_for_a_window() -> None:
    """A borrower's last request and the lender's first one of the same part are never in one second of arrivals."""
    assert RETURN_S >= LEASE_S * (1 + 1e-3) + WINDOW_S
    assert DRIFT_S >= LEASE_S * 1e-3


def test_borrowed() -> None:
    """Each lease counts until its end, and what is known anew replaces what was known."""
    borrowed = Borrowed()
    assert borrowed.at(0.0) == 0
    borrowed.replace({"a": Lease(10.0, 5.0), "b": Lease(2.0, 7.0)})
    assert [borrowed.at(now) for now in (4.9, 5.0, 6.9, 7.0)] == [12.0, 2.0, 2.0, 0.0]
    borrowed.replace({"a": Lease(10.0, 5.0)})
    assert borrowed.at(4.9) == 10.0


def test_a_smaller_promise_does_not_end_a_larger_one() -> None:
    """The borrower may have read only the first; so it holds until its end, and the smaller one after it."""
    lent = Lent()
    lent.promise("a", Lease(20.0, 5.0))
    lent.promise("a", Lease(5.0, 7.0))
    lent.promise("b", Lease(1.0, 6.0))
    assert [lent.at(now) for now in (0.0, 4.9, 5.0, 6.0, 7.0)] == [21.0, 21.0, 6.0, 5.0, 0.0]
    lent.promise("a", Lease(9.0, 9.0))
    assert lent.held(8.0) == {"a": 9.0}
    lent.clear()
    assert lent.at(8.0) == 0.0


@given(
    promises=st.lists(st.tuples(st.sampled_from("abc"), st.floats(0.001, 50.0), st.floats(0.0, 20.0)), max_size=30),
    now=st.floats(0.0, 20.0),
)
def test_what_is_lent_covers_every_promise(promises: list[tuple[str, float, float]], now: float) -> None:
    """Whatever was promised in whatever order, each borrower's largest promise that has not ended is done without."""
    lent = Lent()
    for who, per_second, until in promises:
        lent.promise(who, Lease(per_second, until))
    largest: dict[str, float] = {}
    for who, per_second, until in promises:
        if now < until:
            largest[who] = max(per_second, largest.get(who, 0.0))
    assert lent.held(now) == largest


def test_wanters_share_evenly() -> None:
    """To the thousandth of a request."""
    assert divide(23.75, {}, ["a"]) == {"a": 23.75}
    assert divide(10.0, {}, ["a", "b", "c"]) == {"a": 3.333, "b": 3.333, "c": 3.333}
    assert divide(0.0, {}, ["a"]) == {}
    assert divide(10.0, {}, []) == {}


def test_what_is_promised_is_not_given_twice() -> None:
    """A second wanter gets its part as soon as the first one's promise has ended, and the first one less at once."""
    assert divide(20.0, {"a": 20.0}, ["a", "b"]) == {"a": 10.0}
    assert divide(20.0, {"a": 10.0}, ["a", "b"]) == {"a": 10.0, "b": 10.0}
    assert divide(20.0, {"gone": 15.0}, ["a"]) == {"a": 5.0}
    assert divide(5.0, {"a": 20.0}, ["a"]) == {"a": 5.0}


@given(
    spare=st.floats(0.0, 100.0),
    held=st.dictionaries(st.sampled_from("abcdef"), st.floats(0.0, 60.0), max_size=6),
    wanters=st.lists(st.sampled_from("abcdef"), unique=True, max_size=6),
)
def test_no_more_is_promised_than_can_be_spared(spare: float, held: dict[str, float], wanters: list[str]) -> None:
    """With what was promised before, all together stay within what is spare, unless they were beyond it already."""
    grants = divide(spare, held, wanters)
    after = {who: max(held.get(who, 0.0), grants.get(who, 0.0)) for who in {*held, *grants}}
    assert sum(after.values()) <= max(spare, sum(held.values())) + 1e-9
    assert set(grants) <= set(wanters)
    assert all(0 < grant <= spare / len(wanters) + 1e-9 for grant in grants.values())
