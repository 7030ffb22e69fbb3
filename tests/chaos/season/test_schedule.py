"""A season's schedule: the same for a seed, and fair to every kind of fault."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chaos.season.catalogue import BY_NAME, KINDS, QUICK
from tests.chaos.season.schedule import BESIDE, schedule

SEEDS = st.integers(0, 2**32 - 1)


@given(SEEDS, st.integers(0, 400), st.integers(400, 300_000))
def test_a_seed_is_a_season(seed: int, faults: int, webhooks: int) -> None:
    """The same seed gives the same faults, as many as were asked for, in order, inside the traffic."""
    planned = schedule(seed, faults, webhooks)
    assert planned == schedule(seed, faults, webhooks)
    assert [one.number for one in planned] == list(range(1, faults + 1))
    places = [one.at for one in planned]
    assert places == sorted(places)
    assert all(webhooks * 0.04 <= place < webhooks * 0.96 for place in places)


@given(SEEDS, st.integers(1, 400))
def test_each_kind_comes_before_any_comes_again(seed: int, faults: int) -> None:
    """No kind is ever more than one ahead of another."""
    times = Counter({kind.name: 0 for kind in KINDS})
    for one in schedule(seed, faults, 1000):
        times[one.name] += 1
        assert max(times.values()) - min(times.values()) <= 1


@given(SEEDS)
def test_what_comes_together_is_of_two_realms(seed: int) -> None:
    """A pair at most, at one place, of different parts of the chain, and never beside an operator's work."""
    planned = schedule(seed, 200, 10_000)
    assert not planned[0].beside
    for before, one in pairwise(planned):
        if one.beside:
            realms = {BY_NAME[before.name].realm, BY_NAME[one.name].realm}
            assert (len(realms), before.at, before.beside) == (2, one.at, False)
            assert "operator" not in realms
    assert 0 < sum(one.beside for one in planned) < 2 * BESIDE * len(planned)


def test_other_seeds_are_other_seasons() -> None:
    """Order, places and each fault's own dice differ."""
    seasons = [schedule(seed, 40, 10_000) for seed in range(20)]
    for field in ("name", "at", "seed"):
        assert len({tuple(getattr(one, field) for one in season) for season in seasons}) == len(seasons)


def test_the_short_form_has_only_quick_ones() -> None:
    """Of the kinds that are given, and of no other."""
    assert {one.name for one in schedule(1, 60, 1000, QUICK)} == {kind.name for kind in QUICK}


@pytest.mark.parametrize(("faults", "webhooks", "kinds"), [(10, 9, KINDS), (-1, 9, KINDS), (1, 9, ())])
def test_what_cannot_be_planned_is_refused(faults: int, webhooks: int, kinds: tuple[()]) -> None:
    """More faults than webhooks, fewer than none, or no kind to choose from."""
    with pytest.raises(ValueError, match="do not fit into"):
        schedule(1, faults, webhooks, kinds)
