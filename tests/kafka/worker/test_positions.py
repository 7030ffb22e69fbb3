"""Which chunk is delivered, trimmed, dropped or read again."""

from __future__ import annotations

from collections.abc import Iterator

from faust.types import TP
from hypothesis import given
from hypothesis import strategies as st

from pipeline.kafka.worker.positions import Drop, Positions, Restart, SeekBack, Take

A = TP("a", 0)
B = TP("a", 1)


def owning(start: int) -> Positions:
    """Positions that own one partition from `start` on."""
    positions = Positions()
    positions.restart({A: start})
    return positions


def test_the_record_after_a_commit_is_delivered() -> None:
    """Nothing is lost at a resume: committed 105, chunk 105-109 arrives, all five are delivered."""
    assert owning(105).judge(A, 105, 109, 110) == Take(105, 105)


def test_a_chunk_that_begins_too_early_is_trimmed() -> None:
    """Records that were delivered already are left out."""
    assert owning(105).judge(A, 100, 109, 110) == Take(105, 105)


def test_a_chunk_that_was_delivered_is_dropped() -> None:
    """A fetch from before the seek that holds nothing new is dropped."""
    assert owning(105).judge(A, 100, 104, 110) == Drop()


def test_a_fetch_that_ran_ahead_is_read_again_once() -> None:
    """A gap may be a fetch that returned after the seek: the partition is read again from where it should be."""
    positions = owning(105)
    assert positions.judge(A, 300, 399, 400) == SeekBack(105)
    positions.sought(A, 105)
    assert positions.judge(A, 105, 204, 400) == Take(105, 105)


def test_a_gap_that_stays_is_real() -> None:
    """After reading again, the same gap is what retention deleted, and is passed."""
    positions = owning(105)
    positions.sought(A, 105)
    assert positions.judge(A, 110, 119, 120) == Take(110, 105)


def test_a_gap_that_the_client_knows_is_believed() -> None:
    """What it passed over from our position on, or from before it, is nothing for readers: no seek, no gap."""
    assert owning(105).judge(A, 110, 119, 120, 105) == Take(110, 110)
    assert owning(105).judge(A, 110, 119, 120, 90) == Take(110, 110)


def test_a_gap_that_the_client_knows_in_part_is_read_again() -> None:
    """Below what it knows a poll may have been dropped."""
    assert owning(105).judge(A, 110, 119, 120, 107) == SeekBack(105)


def test_what_gave_nothing_moves_the_position() -> None:
    """From our position to where the client is; never over records that a dropped poll had."""
    positions = owning(105)
    assert positions.pass_over(A, 100, 109)
    assert positions.wanted(A) == 109
    assert not positions.pass_over(A, 100, 109)
    assert not positions.pass_over(A, 112, 120)
    assert not positions.pass_over(B, 0, 120)
    assert (positions.wanted(A), positions.wanted(B)) == (109, None)
    assert list(positions.partitions) == [A]


def test_every_gap_is_read_again() -> None:
    """Having read one gap again says nothing about the next."""
    positions = owning(105)
    positions.sought(A, 105)
    positions.delivered(A, 119)
    assert positions.judge(A, 125, 129, 130) == SeekBack(120)


def test_a_seek_that_failed_does_not_count() -> None:
    """Only a seek that happened makes the next gap believable."""
    positions = owning(105)
    assert positions.judge(A, 110, 119, 120) == SeekBack(105)
    assert positions.judge(A, 110, 119, 120) == SeekBack(105)


def test_partitions_of_others_are_dropped() -> None:
    """What arrives for a partition that is not owned (any more) is not delivered."""
    positions = owning(105)
    assert positions.judge(B, 0, 9, 10) == Drop()
    positions.forget()
    assert positions.judge(A, 105, 109, 110) == Drop()
    assert positions.wanted(A) is None


def test_a_new_assignment_forgets_the_old_seeks() -> None:
    """A gap right after a rebalance is read again, whatever was sought before."""
    positions = owning(105)
    positions.sought(A, 105)
    positions.restart({A: 105})
    assert positions.judge(A, 110, 119, 120) == SeekBack(105)


def test_a_log_that_ends_below_the_position_begins_anew() -> None:
    """The topic was deleted and made again: its records are delivered, not taken for old ones."""
    positions = owning(1000)
    assert positions.judge(A, 0, 49, 50) == Restart(0, 1000)


def test_a_log_that_ends_at_the_position_is_the_same() -> None:
    """Old records of a log that holds nothing newer are no sign of a new one."""
    assert owning(105).judge(A, 100, 104, 105) == Drop()


def test_a_log_whose_end_is_unknown_is_not_taken_for_a_new_one() -> None:
    """Without the broker's word for it, records below the position are old."""
    assert owning(1000).judge(A, 0, 49, None) == Drop()


def test_a_log_that_was_cut_and_has_grown_past_the_position() -> None:
    """The leader had refused our offset, so what lies below it are other records than we read, whatever the end is."""
    assert owning(1000).judge(A, 0, 499, 1005, 0, refused=1000) == Restart(0, 1000)
    assert owning(1000).judge(A, 800, 1004, 1005, 800, refused=1000) == Restart(800, 1000)
    assert owning(998).judge(A, 0, 499, 1005, 0, refused=1000) == Restart(0, 998), "the client had passed over markers"


def test_what_retention_took_below_a_refused_offset_is_a_gap() -> None:
    """The log then begins behind the position: it was not cut. Nor does a refusal of long ago say anything."""
    assert owning(1000).judge(A, 1200, 1299, 1300, 1200, refused=1000) == SeekBack(1000)
    assert owning(1500).judge(A, 0, 499, 1600, 0, refused=1000) == Drop()


class Log:
    """A partition with holes, a driver with a position that jumps, and fetches that may overtake a seek."""

    def __init__(self, offsets: list[int]) -> None:
        self.offsets = offsets
        self.at = 0
        self.held: list[list[int]] = []

    def fetch(self, size: int) -> list[int]:
        """The next records; the position moves behind them."""
        chunk = [offset for offset in self.offsets if offset >= self.at][:size]
        if chunk:
            self.at = chunk[-1] + 1
        return chunk


def with_gaps(draw: st.DrawFn) -> list[int]:
    """Existing offsets of a log."""
    holes = draw(st.sets(st.integers(0, 40), max_size=25))
    return [offset for offset in range(41) if offset not in holes] or [41]


@st.composite
def runs(draw: st.DrawFn) -> tuple[list[int], list[tuple[str, int]]]:
    """A log, and what happens to its reader: fetches, pauses that lose a fetch, seeks that a fetch overtakes."""
    steps = st.tuples(st.sampled_from(["fetch", "lost", "overtaken"]), st.integers(1, 9))
    return with_gaps(draw), draw(st.lists(steps, max_size=30))


def deliver(positions: Positions, log: Log, chunk: list[int], delivered: list[int]) -> None:
    """What the transport does with a chunk."""
    if not chunk:
        return
    match positions.judge(A, chunk[0], chunk[-1], log.offsets[-1] + 1):
        case Take(start, _):
            delivered.extend(offset for offset in chunk if offset >= start)
            positions.delivered(A, chunk[-1])
        case SeekBack(offset):
            log.at = offset
            positions.sought(A, offset)
        case Drop():
            pass


def outcome(run: tuple[list[int], list[tuple[str, int]]]) -> Iterator[list[int]]:
    """What each assignment delivered, from the offset that was committed when it began."""
    offsets, steps = run
    log, positions, delivered = Log(offsets), owning(0), list[int]()
    committed = 0
    for what, size in steps:
        if what == "fetch":
            deliver(positions, log, log.fetch(size), delivered)
            continue
        late = log.fetch(size)
        yield [committed, *delivered]
        committed = delivered[-1] + 1 if delivered else committed
        delivered.clear()
        positions.restart({A: committed})
        log.at = committed
        if what == "overtaken":  # the fetch comes after the seek, with the driver's position behind it
            if late:
                log.at = late[-1] + 1
            deliver(positions, log, late, delivered)
    for _ in range(2 * len(offsets) + 2):
        deliver(positions, log, log.fetch(5), delivered)
    yield [committed, *delivered]
    assert not delivered or delivered[-1] == offsets[-1]


@given(runs())
def test_against_a_model(run: tuple[list[int], list[tuple[str, int]]]) -> None:
    """Through gaps, lost fetches and fetches that overtake a seek, every record is delivered once and in order."""
    for start, *delivered in outcome(run):
        expected = [offset for offset in run[0] if offset >= start]
        assert delivered == expected[: len(delivered)]
