"""Lag is what waits, in records and in seconds; looking at it changes nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest
from aiokafka import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from pipeline.kafka.cluster.lag import GroupLag, PartitionLag, aged, partition_lag, with_losses
from pipeline.kafka.cluster.losses import KEPT_MS, Loss
from pipeline.kafka.cluster.pace import Throughput, pace

TP = TopicPartition("t", 0)


def row(committed: int | None, start: int, end: int) -> PartitionLag:
    """The row of a partition whose offsets are all known."""
    return partition_lag("g", TP, {TP: committed}, (start, end))


def test_records_wait_from_the_commit_to_the_end() -> None:
    """A commit at 7 of 10 leaves three, whose age is not known yet."""
    found = row(7, 0, 10)
    assert (found.records, found.seconds, found.lost, found.note) == (3, None, 0, None)


def test_nothing_waits() -> None:
    """At the end the lag is 0 records and 0 seconds."""
    found = row(10, 4, 10)
    assert (found.records, found.seconds) == (0, 0.0)


def test_never_committed() -> None:
    """A group without a commit has everything before it that the broker still holds, and the row says so."""
    found = row(None, 4, 10)
    assert (found.committed, found.records, found.seconds) == (None, 6, None)
    assert found.note
    assert "never committed" in found.note


def test_lost_to_retention() -> None:
    """Records deleted before they were processed are counted, not hidden in the lag."""
    found = row(2, 5, 10)
    assert (found.records, found.lost) == (5, 3)
    assert found.note
    assert "3 records were deleted" in found.note


def test_what_is_written_down_of_losses() -> None:
    """Of what the group has yet to pass over only what is not written down is added; an entry of a day ago, one that
    was acknowledged, and one beyond the end of the topic as it is now, add nothing."""  # noqa: D205, D209 - one promise
    now_ms = 1_800_000_000_000
    assert with_losses(row(8, 5, 10), Loss(5, 3, now_ms), now_ms).lost == 3
    pending = with_losses(row(2, 5, 10), Loss(5, 3, now_ms), now_ms)
    assert (pending.lost, pending.note) == (
        3, "3 records were deleted before they were processed, the last ones seen at 2027-01-15T08:00:00+00:00"
    )  # fmt: skip
    assert with_losses(row(2, 7, 10), Loss(5, 3, now_ms), now_ms).lost == 5
    assert with_losses(row(8, 5, 10), Loss(5, 3, now_ms - KEPT_MS), now_ms).lost == 0
    acknowledged = with_losses(row(2, 5, 10), Loss(5), now_ms)
    assert (acknowledged.lost, acknowledged.note) == (0, None)
    assert with_losses(row(8, 5, 10), Loss(11, 3, now_ms), now_ms).lost == 0
    assert with_losses(row(2, 5, 10), None, now_ms).lost == 3
    assert with_losses(partition_lag("g", TP, {}, (0, 10)), Loss(5, 3, now_ms), now_ms).lost is None


@pytest.mark.parametrize(
    ("found", "note"),
    [
        (partition_lag("g", TP, {}, (0, 10)), "did not tell"),
        (partition_lag("g", TP, {TP: 3}, None), "could not be read"),
        (row(11, 0, 10), "created anew"),
    ],
)
def test_unknown_is_not_zero(found: PartitionLag, note: str) -> None:
    """An offset that is not told, ends that cannot be read, a commit beyond the end: None, with the reason."""
    assert (found.records, found.seconds) == (None, None)
    assert found.note
    assert note in found.note


def test_age() -> None:
    """The age is the clock minus the record's timestamp, and never negative for a producer whose clock is ahead."""
    assert aged(row(7, 0, 10), {0: 1_000}, set(), 4_500).seconds == 3.5
    assert aged(row(7, 0, 10), {0: 9_000}, set(), 4_500).seconds == 0.0


@pytest.mark.parametrize("written_ms", [None, 2**62, 4_500 + 2 * 86_400_000])
def test_a_time_that_cannot_be_true(written_ms: int | None) -> None:
    """A record without a time, or of the day after tomorrow, has an unknown age: not that of 1970, and not 0."""
    found = aged(row(7, 0, 10), {0: written_ms}, set(), 4_500)
    assert (found.records, found.seconds) == (3, None)
    assert found.note
    assert "no time that could be true" in found.note


def test_an_open_transaction() -> None:
    """What it holds back waits as well, and the row says why nobody reads it."""
    found = partition_lag("g", TP, {TP: 7}, (0, 12), 10)
    assert (found.records, found.held) == (5, 2)
    assert found.note
    assert "2 of them cannot be read before a transaction ends that is open since offset 10" in found.note
    assert aged(found, {0: 1_000}, set(), 4_500).seconds == 3.5
    nothing_before = aged(found, {0: 2_000}, {0}, 4_500)
    assert (nothing_before.records, nothing_before.seconds) == (2, 2.5)
    assert (row(7, 0, 12).held, partition_lag("g", TP, {TP: 11}, (0, 12), 10).held) == (0, 1)
    assert (group(found, row(7, 0, 12)).held, group(found).records) == (2, 5)


def test_an_unread_record_has_no_age() -> None:
    """When the first record was not read in time, records are known and seconds are not."""
    found = aged(row(7, 0, 10), {}, set(), 4_500)
    assert (found.records, found.seconds) == (3, None)
    assert found.note


def group(*rows: PartitionLag) -> GroupLag:
    """A group with these rows."""
    return GroupLag("g", "t", "Stable", 1, tuple(replace(each, partition=number) for number, each in enumerate(rows)))


def test_a_total_with_an_unknown_part_is_unknown() -> None:
    """A sum over partitions of which one is unknown would claim less lag than there is."""
    known = aged(row(7, 0, 10), {0: 1_000}, set(), 4_500)
    assert (group(known, row(10, 0, 10)).records, group(known, row(10, 0, 10)).seconds) == (3, 3.5)
    unknown = partition_lag("g", TP, {}, (0, 10))
    assert (group(known, unknown).records, group(known, unknown).seconds) == (None, None)


def test_pace() -> None:
    """Between two readings 10 s apart: 40 came, 100 were done, 60 wait, so 10 s to go."""
    assert pace(group(row(0, 0, 120)), group(row(100, 0, 160)), 10.0).group == Throughput(4.0, 10.0, 10.0)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (group(row(0, 0, 10)), group(row(5, 0, 20)), Throughput(1.0, 0.5, None)),  # falls behind
        (group(row(0, 0, 10)), group(row(0, 0, 10)), Throughput(0.0, 0.0, None)),  # stands still
        (group(row(10, 0, 10)), group(row(10, 0, 10)), Throughput(0.0, 0.0, 0.0)),  # nothing waits
        (group(row(None, 0, 10)), group(row(4, 0, 10)), Throughput(0.0, 0.4, 15.0)),  # its first commit
        (group(row(9, 0, 10)), group(row(1, 0, 10)), Throughput()),  # somebody reset the group
        (group(row(9, 0, 10)), group(row(0, 0, 1)), Throughput()),  # the topic was created anew
        (group(partition_lag("g", TP, {}, (0, 1))), group(row(0, 0, 1)), Throughput()),
        (group(row(0, 0, 1)), group(row(0, 0, 1), row(0, 0, 1)), Throughput()),  # a partition was added
    ],
)
def test_pace_that_cannot_be_told(before: GroupLag, after: GroupLag, expected: Throughput) -> None:
    """A group that does not catch up is never drained, and a reading without its pair tells nothing."""
    assert pace(before, after, 10.0).group == expected


@given(st.none() | st.integers(0, 50), st.integers(0, 50), st.integers(0, 50))
def test_no_record_is_counted_twice_or_forgotten(committed: int | None, start: int, held: int) -> None:
    """Done, lost and waiting add up to the end, whatever was committed."""
    end = start + held
    found = row(committed, start, end)
    if found.records is None:
        assert committed is not None
        assert committed > end
        return
    assert found.lost is not None
    assert 0 <= found.records <= held
    assert (start if committed is None else committed) + found.lost + found.records == end
