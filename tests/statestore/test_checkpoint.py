"""What is known of a changelog is never said to reach further than it does."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.statestore.checkpoint import Checkpoint

SPANS = st.lists(st.tuples(st.integers(0, 40), st.integers(1, 6)).map(lambda pair: (pair[0], sum(pair))), max_size=20)


@given(st.integers(0, 10), SPANS)
def test_it_reaches_as_far_as_everything_is_known(begin: int, spans: list[tuple[int, int]]) -> None:
    """`next_offset` is the first offset that nothing covered, `has_gap` whether something lies beyond it."""
    coverage = Checkpoint(begin)
    known = set(range(begin))
    for start, stop in spans:
        coverage.add(start, stop)
        known |= set(range(start, stop))
        first_unknown = next(offset for offset in range(100) if offset not in known)
        assert coverage.next_offset == first_unknown
        assert coverage.has_gap == any(offset > first_unknown for offset in known)


@given(SPANS)
def test_reading_closes_every_gap(spans: list[tuple[int, int]]) -> None:
    """Read up to the end, nothing is missing, what the broker lost sight of included."""
    coverage = Checkpoint(0)
    coverage.lose()
    for start, stop in spans:
        coverage.add(start, stop)
    assert coverage.has_gap
    coverage.found(50)
    assert (coverage.next_offset, coverage.has_gap) == (50, False)
