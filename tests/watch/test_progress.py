"""Progress is counted from the transport's events alone."""

from __future__ import annotations

from faust.types import TP
from hypothesis import given
from hypothesis import strategies as st

from pipeline.kafka.events import (
    ChunkAcknowledged,
    ChunkDelivered,
    CommitFailed,
    LogRestarted,
    OffsetsCommitted,
    ProduceStalled,
    RebalanceEnded,
)
from pipeline.watch.progress import Progress

ZERO, ONE = TP("webhooks", 0), TP("webhooks", 1)


def delivered(first: int, last: int, *, end: int | None = None, tp: TP = ZERO) -> ChunkDelivered:
    """A chunk that was put before the stage."""
    return ChunkDelivered(tp.topic, tp.partition, first, last, last - first + 1, end, 1)


def acknowledged(next_offset: int, *, tp: TP = ZERO) -> ChunkAcknowledged:
    """The stage finished everything below."""
    return ChunkAcknowledged(tp.topic, tp.partition, next_offset, 1)


def after(*events: object) -> Progress:
    """The progress after these events."""
    progress = Progress()
    for event in events:
        progress(event)
    return progress


def test_from_delivery_to_commit() -> None:
    """Records are unread, then undelivered, then uncommitted, then nobody's business."""
    progress = after(delivered(100, 149, end=160))
    assert (progress.unread, progress.undelivered, progress.uncommitted) == (10, 50, 0)
    progress(acknowledged(130))
    assert (progress.unread, progress.undelivered, progress.uncommitted) == (10, 20, 30)
    progress(OffsetsCommitted({ZERO: 130}, 1, 0.01))
    assert (progress.unread, progress.undelivered, progress.uncommitted) == (10, 20, 0)
    assert (progress.delivered, progress.acknowledged, progress.committed) == (50, 30, 30)


def test_rebalance_starts_anew() -> None:
    """After a rebalance nothing of the old assignment waits here; the counters go on."""
    progress = after(delivered(0, 9, end=50), RebalanceEnded(2, frozenset({ONE}), 0.5))
    assert (progress.unread, progress.undelivered, progress.uncommitted) == (0, 0, 0)
    progress(OffsetsCommitted({ZERO: 5}, 1, 0.01))
    assert (progress.delivered, progress.acknowledged, progress.committed) == (10, 0, 0)


def test_finished_before_it_was_told() -> None:
    """A chunk that is finished before its delivery was told leaves nothing waiting."""
    progress = after(acknowledged(10), delivered(0, 9, end=10), OffsetsCommitted({ZERO: 10}, 1, 0.01))
    assert (progress.unread, progress.undelivered, progress.uncommitted) == (0, 0, 0)


def test_work_before_the_first_chunk() -> None:
    """Records that lie at the broker count even when nothing of the partition ever arrived."""
    progress = after()
    progress.saw({ZERO: 7, ONE: 0})
    assert progress.unread == 7
    progress(delivered(1000, 1006, end=1007))
    assert (progress.unread, progress.undelivered) == (0, 7)


def test_markers_at_the_end_are_no_work() -> None:
    """A transaction's marker at the end of the log is passed by the driver and is not waited for."""
    progress = after(delivered(0, 9, end=11))
    assert progress.unread == 1
    progress.saw({ZERO: 0})
    assert progress.unread == 0


def test_log_that_began_anew() -> None:
    """A topic that was made anew counts from its new start."""
    progress = after(delivered(500, 599), LogRestarted("webhooks", 0, 600, 0), delivered(0, 4))
    assert progress.undelivered == 5


def test_attempts() -> None:
    """A retry moves a counter of its own: the stage's, and those of sends and commits while the brokers are away."""
    progress = after(ProduceStalled("operations", 1, 30.0), CommitFailed({ZERO: 5}, 1, stale=False))
    progress.attempted()
    assert progress.attempts == 3


def test_other_events_change_nothing() -> None:
    """Events that it does not know pass."""
    assert after(object(), "text").delivered == 0


@given(st.lists(st.tuples(st.sampled_from([ZERO, ONE]), st.integers(1, 20)), max_size=20), st.data())
def test_never_negative(chunks: list[tuple[TP, int]], data: st.DataObject) -> None:
    """However far acknowledgements and commits have come, no count is negative, and all end at zero."""
    progress = Progress()
    ends = {ZERO: 10, ONE: 10}
    for tp, count in chunks:
        progress(delivered(ends[tp], ends[tp] + count - 1, tp=tp))
        ends[tp] += count
        done = data.draw(st.integers(10, ends[tp]))
        progress(acknowledged(done, tp=tp))
        progress(OffsetsCommitted({tp: data.draw(st.integers(10, done))}, 1, 0.0))
        assert min(progress.undelivered, progress.uncommitted) >= 0
    for tp in {tp for tp, _ in chunks}:
        progress(acknowledged(ends[tp], tp=tp))
        progress(OffsetsCommitted({tp: ends[tp]}, 1, 0.0))
    assert (progress.undelivered, progress.uncommitted) == (0, 0)
    assert progress.acknowledged == progress.committed == progress.delivered
