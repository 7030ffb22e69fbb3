"""How long to wait."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.sink.backoff import full_jitter, recheck


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_full_jitter(attempt: int, random: float) -> None:
    """A pause lies between nothing and 0.5 s doubled at each attempt, at most a minute."""
    bound = 0.5 * 2 ** (attempt - 1) if attempt < 8 else 60
    pause = full_jitter(attempt, random)
    assert 0 <= pause <= bound
    assert pause == random * bound


def test_recheck() -> None:
    """Refused credentials are tried after 5 s, then ever more slowly, at least once a minute."""
    assert [recheck(n) for n in (1, 2, 3, 4, 5, 6, 9_999)] == [5, 10, 20, 40, 60, 60, 60]
