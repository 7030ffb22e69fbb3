"""The rate holds in every stretch of time, as counted by a clock in the test's hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.deadletters.pace import LARGEST_CHUNK, Pace, chunk_size


@given(
    rate=st.floats(0.1, 10_000),
    chunks=st.lists(st.tuples(st.integers(1, LARGEST_CHUNK), st.floats(0, 100)), min_size=2, max_size=30),
)
def test_never_above_the_rate(rate: float, chunks: list[tuple[int, float]]) -> None:
    """From any chunk on to any later one, what went before the latter is at most the rate times the time between.

    Each chunk takes its time to be sent; what an outage held up is not caught up with.
    """
    pace = Pace(rate)
    now_s = 1000.0
    sent: list[tuple[float, int]] = []
    for letters, took_s in chunks:
        wait_s = pace.wait_s(letters, now_s)
        assert wait_s >= 0
        now_s += wait_s
        sent.append((now_s, letters))
        now_s += took_s
    for first in range(len(sent)):
        for last in range(first + 1, len(sent)):
            between_s = sent[last][0] - sent[first][0]
            letters = sum(count for _, count in sent[first:last])
            assert letters <= rate * between_s * (1 + 1e-6) + 1e-6 * rate


def test_no_slower_than_asked() -> None:
    """When sending takes no time, 1,000 letters at 100 a second take the 9.9 s until the last chunk of ten goes."""
    pace = Pace(100)
    now_s = 0.0
    for _ in range(100):
        now_s += pace.wait_s(10, now_s)
    assert now_s == pytest.approx(9.9)


@pytest.mark.parametrize(
    ("rate", "letters"), [(0.001, 1), (1, 1), (19, 1), (20, 2), (500, 50), (4_999, 499), (1_000_000, LARGEST_CHUNK)]
)
def test_chunk_size(rate: float, letters: int) -> None:
    """A tenth of a second's letters, at least one and at most what a crash may repeat."""
    assert chunk_size(rate) == letters
