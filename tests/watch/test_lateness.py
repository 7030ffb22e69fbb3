"""How late a worker is with its partitions follows from the times of what it was given and has committed."""

from __future__ import annotations

from faust.types import TP
from hypothesis import given
from hypothesis import strategies as st

from pipeline.kafka.events import ChunkDelivered, LogRestarted, OffsetsCommitted, RebalanceEnded
from pipeline.watch.lateness import Lateness

ZERO, ONE = TP("webhooks", 0), TP("webhooks", 1)
START_MS = 1_800_000_000_000


class Clock:
    """A clock that is set."""

    now_ms = float(START_MS)

    def __call__(self) -> float:
        """Unix milliseconds."""
        return self.now_ms


def delivered(
    first: int, last: int, first_ms: int | None, last_ms: int | None, *, end: int | None = None, tp: TP = ZERO
) -> ChunkDelivered:
    """A chunk with the times of its ends."""
    count = last - first + 1
    return ChunkDelivered(tp.topic, tp.partition, first, last, count, end, 1, first_at_ms=first_ms, last_at_ms=last_ms)


def committed(offset: int, tp: TP = ZERO) -> OffsetsCommitted:
    """The group's offset moved."""
    return OffsetsCommitted({tp: offset}, 1, 0.01)


@given(
    st.lists(st.tuples(st.integers(1, 40), st.integers(0, 5000)), min_size=1, max_size=8),
    st.integers(0, 10_000),
    st.data(),
)
def test_it_is_the_age_of_the_first_record_that_is_not_committed(
    chunks: list[tuple[int, int]], later_ms: int, data: st.DataObject
) -> None:
    """With records written evenly, the age is that of the first uncommitted one to the millisecond, 0 without one."""
    clock = Clock()
    late = Lateness(clock)
    times: list[int] = []
    for count, gap_ms in chunks:  # a record each 10 ms, and a pause between chunks
        begin = (times[-1] if times else START_MS) + gap_ms
        span = [begin + 10 * number for number in range(count)]
        late(delivered(len(times), len(times) + count - 1, span[0], span[-1]))
        times += span
    clock.now_ms = times[-1] + later_ms
    reached = sorted(data.draw(st.lists(st.integers(0, len(times)), max_size=4)))
    for offset in reached:
        late(committed(offset))
    first = reached[-1] if reached else 0
    expected = (clock.now_ms - times[first]) / 1000 if first < len(times) else 0.0
    assert abs(late.seconds(ZERO) - expected) < 0.0015
    assert late.seconds(ONE) == 0.0


def test_what_lies_at_the_broker_is_at_least_as_old_as_its_sight() -> None:
    """Unread records count from when they were first seen; what is delivered later says how old it really is."""
    clock = Clock()
    late = Lateness(clock)
    late.unread(ZERO, 7)
    clock.now_ms += 4000
    late.unread(ZERO, 9)
    assert late.seconds(ZERO) == 4.0
    late(delivered(0, 8, START_MS - 60_000, START_MS, end=9))
    assert late.seconds(ZERO) == 64.0
    late(committed(9))
    assert late.seconds(ZERO) == 0.0


def test_what_follows_a_chunk_counts_from_then() -> None:
    """Records behind a delivered chunk were still at the broker: once that is committed they count from its coming."""
    clock = Clock()
    late = Lateness(clock)
    late(delivered(0, 9, START_MS, START_MS, end=15))
    clock.now_ms += 2500
    late(committed(10))
    assert late.seconds(ZERO) == 2.5


def test_times_that_no_clock_showed() -> None:
    """Producers write any number: such a record counts from when it came, and one of tomorrow is no negative age."""
    clock = Clock()
    late = Lateness(clock)
    late(delivered(0, 0, -1, -1))
    late(delivered(0, 0, START_MS + 86_400_000, START_MS + 86_400_000, tp=ONE))
    clock.now_ms += 1000
    assert (late.seconds(ZERO), late.seconds(ONE)) == (1.0, 0.0)


def test_another_assignment_begins_anew() -> None:
    """What an earlier assignment or an earlier log left is no lateness of this one."""
    clock = Clock()
    late = Lateness(clock)
    for event in (RebalanceEnded(2, frozenset({ZERO}), 0.1), LogRestarted("webhooks", 0, 5, 0)):
        late(delivered(0, 9, START_MS - 1000, START_MS, end=20))
        assert late.seconds(ZERO) > 0
        late(event)
        assert late.seconds(ZERO) == 0.0
