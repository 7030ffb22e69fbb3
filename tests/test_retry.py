"""How long to wait before the next attempt."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.retry import RETRY_AFTER_MAX_S, retry_after_s
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


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("3", 3.0),
        ("0.25", 0.25),
        ("86400", 300.0),
        ("Tue, 14 Nov 2023 22:13:30 GMT", 10.0),
        ("Tue, 14 Nov 2023 22:00:00 GMT", 0.0),
        ("soon", None),
        ("", None),
        ("-3", None),
    ],
)
def test_retry_after(value: str, expected: float | None) -> None:
    """Both forms of the header are understood, garbage is not."""
    assert retry_after_s(value, now_s=1_700_000_000.0) == expected


@given(st.text())
def test_retry_after_is_seconds_or_nothing(value: str) -> None:
    """Any header is a wait of 0 to 300 s or ignored."""
    waits = retry_after_s(value, now_s=0.0)
    assert waits is None or 0 <= waits <= RETRY_AFTER_MAX_S
