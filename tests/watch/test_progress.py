"""Progress is counted from the transport's events alone."""

from __future__ import annotations

from faust.types import TP
from hypothesis import given
from hypothesis import strategies as st

from pipeline.kafka.events import (
    ChunkAcknowledged,
    ChunkDelivered,
    CommitFailed,
    HandOverEnded,
    LogRestarted,
    OffsetsCommitted,
    ProduceStalled,
    RebalanceEnded,
)
from pipeline.watch.progress import Progress
from pipeline.watch.vitals import PartitionVitals

ZERO, ONE, TWO = TP("webhooks", 0), TP("webhooks", 1), TP("webhooks", 2)


def delivered(first: int, last: int, *, end: int | None = None, tp: TP = ZERO) -> ChunkDelivered:
    """A chunk that was put before the stage."""
    return ChunkDelivered(tp.topic, tp.partition, first, last, last - first + 1, end, 1)


def acknowledged(next_offset: int, *, tp: TP = ZERO) -> ChunkAcknowledged:
    """The stage finished everything below."""
    return ChunkAcknowledged(tp.topic, tp.partition, next_offset, 1)


def waiting(progress: Progress, tp: TP = ZERO) -> tuple[int, int, int]:
    """Records of a partition that are unread, undelivered and uncommitted."""
    place = progress.place(tp)
    return (place.unread, place.undelivered, place.uncommitted)


def after(*events: object) -> Progress:
    """The progress after these events."""
    progress = Progress()
    for event in events:
        progress(event)
    return progress


def test_from_delivery_to_commit() -> None:
    """Records are unread, then undelivered, then uncommitted, then nobody's business."""
    progress = after(delivered(100, 149, end=160))
    assert waiting(progress) == (10, 50, 0)
    progress(acknowledged(130))
    assert waiting(progress) == (10, 20, 30)
    progress(OffsetsCommitted({ZERO: 130}, 1, 0.01))
    assert waiting(progress) == (10, 20, 0)
    assert (progress.delivered, progress.acknowledged, progress.committed) == (50, 30, 30)


def test_rebalance_starts_anew() -> None:
    """After a rebalance nothing of the old assignment waits here; the counters go on."""
    progress = after(delivered(0, 9, end=50), RebalanceEnded(2, frozenset({ONE}), 0.5))
    assert waiting(progress) == (0, 0, 0)
    progress(OffsetsCommitted({ZERO: 5}, 1, 0.01))
    assert (progress.delivered, progress.acknowledged, progress.committed) == (10, 0, 0)


def test_what_was_handed_over_is_not_ours_to_commit() -> None:
    """A hand-over whose commit failed leaves nothing that a long restore could be blamed for not committing; what was
    not finished still waits."""  # noqa: D205, D209 - one promise
    progress = after(delivered(0, 9), acknowledged(5), HandOverEnded(1, True, False, 1, 3.0))
    assert waiting(progress) == (0, 5, 0)
    assert progress.committed == 0


def test_finished_before_it_was_told() -> None:
    """A chunk that is finished before its delivery was told leaves nothing waiting."""
    progress = after(acknowledged(10), delivered(0, 9, end=10), OffsetsCommitted({ZERO: 10}, 1, 0.01))
    assert waiting(progress) == (0, 0, 0)


def test_work_before_the_first_chunk() -> None:
    """Records that lie at the broker count even when nothing of the partition ever arrived."""
    progress = after()
    progress.saw({ZERO: 7, ONE: 0})
    assert progress.place(ZERO) == PartitionVitals(unread=7)
    progress(delivered(1000, 1006, end=1007))
    assert waiting(progress) == (0, 7, 0)


def test_markers_at_the_end_are_no_work() -> None:
    """A transaction's marker at the end of the log is passed by the driver and is not waited for."""
    progress = after(delivered(0, 9, end=11))
    assert progress.place(ZERO).unread == 1
    progress.saw({ZERO: 0})
    assert progress.place(ZERO).unread == 0


def test_log_that_began_anew() -> None:
    """A topic that was made anew counts from its new start."""
    progress = after(delivered(500, 599), LogRestarted("webhooks", 0, 600, 0), delivered(0, 4))
    assert progress.place(ZERO).undelivered == 5


def test_partitions_are_apart() -> None:
    """What happens to one partition is seen in its own place, and every assigned one has a place."""
    progress = after(delivered(0, 9, end=10), delivered(500, 599, end=700, tp=ONE), acknowledged(550, tp=ONE))
    assert progress.places([ZERO, ONE, TWO]) == {
        ZERO: PartitionVitals(10, 0, 0),
        ONE: PartitionVitals(600, 550, 500, unread=100),
        TWO: PartitionVitals(),
    }


def signs(progress: Progress, *tps: TP) -> list[tuple[int, int]]:
    """Attempts and tries to commit of these partitions."""
    places = [progress.place(tp) for tp in tps]
    return [(place.attempts, place.tries) for place in places]


def test_attempts_concern_partitions() -> None:
    """An attempt counts for the partitions that it is about, or for all of them; about none it is no attempt."""
    progress = after()
    progress.attempted([ONE])
    assert (signs(progress, ZERO, ONE), progress.attempts) == ([(0, 0), (1, 0)], 1)
    progress.attempted()
    assert (signs(progress, ZERO, ONE), progress.attempts) == ([(1, 0), (2, 0)], 2)
    progress.attempted([])
    assert (signs(progress, ZERO, ONE), progress.attempts) == ([(1, 0), (2, 0)], 2)


def test_brokers_that_are_away() -> None:
    """A commit that nobody takes is a try for its partitions alone, and no attempt at a record; one that is refused
    since the membership is gone is neither. Whom a send that stalls concerns, only the stage knows."""  # noqa: D205, D209
    progress = after(ProduceStalled("operations", 1, 30.0), CommitFailed({ZERO: 5}, 1, stale=False))
    assert signs(progress, ZERO, ONE) == [(0, 1), (0, 0)]
    progress(CommitFailed({ZERO: 5}, 1, stale=True))
    assert (signs(progress, ZERO, ONE), progress.attempts) == ([(0, 1), (0, 0)], 0)


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
        assert min(waiting(progress, tp)) >= 0
    for tp in {tp for tp, _ in chunks}:
        progress(acknowledged(ends[tp], tp=tp))
        progress(OffsetsCommitted({tp: ends[tp]}, 1, 0.0))
        assert waiting(progress, tp) == (0, 0, 0)
    assert progress.acknowledged == progress.committed == progress.delivered
