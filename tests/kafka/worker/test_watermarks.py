"""What may be committed, against the cases in which Faust's own rule loses records."""

from __future__ import annotations

import pytest
from faust.types import TP
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import ContractViolationError
from pipeline.kafka.worker.done_ahead import DoneAhead, Witness, parted, rendered
from pipeline.kafka.worker.watermarks import PartitionWatermark, Watermarks
from tests.records import Consumed

A = TP("a", 0)
B = TP("a", 1)


def single(start: int, *offsets: int) -> PartitionWatermark:
    """A watermark at `start` with each offset delivered as a chunk of its own."""
    watermark = PartitionWatermark(A, start)
    for offset in offsets:
        watermark.deliver(offset, offset)
    return watermark


@pytest.mark.parametrize(
    ("start", "delivered", "acknowledged", "committable", "violates"),
    [
        pytest.param(0, range(6), [5], 0, True, id="fresh group, the tail first"),
        pytest.param(0, range(6), [0, 1, 2, 3, 4, 5], 6, False, id="fresh group, in order"),
        pytest.param(10, [10, 11, 12], [11], 10, True, id="the head is missing"),
        pytest.param(10, [10, 11, 12], [12], 10, True, id="two are missing"),
        pytest.param(10, [10, 11, 12], [10, 12], 11, True, id="one in the middle is missing"),
        pytest.param(10, [10, 15, 16], [10, 16], 11, True, id="the record after a gap is missing"),
        pytest.param(10, [10, 15], [10, 15], 16, False, id="over a gap, in order"),
        pytest.param(10, [14, 15], [14], 15, False, id="a gap before the first record"),
    ],
)
def test_only_the_contiguous_prefix_may_be_committed(
    start: int, delivered: list[int], acknowledged: list[int], committable: int, violates: bool
) -> None:
    """Where Faust's rule commits over an unfinished record, ours stands still and reports a bug (faust #606)."""
    watermark = single(start, *delivered)
    seen = False
    for offset in acknowledged:
        try:
            watermark.acknowledge(offset, offset, offset)
        except ContractViolationError:
            seen = True
    assert (watermark.next_offset, seen) == (committable, violates)


def test_a_chunk_may_be_done_in_steps() -> None:
    """Part of a chunk can be acknowledged; going back or repeating changes nothing."""
    watermark = PartitionWatermark(A, 0)
    watermark.deliver(0, 9)
    assert watermark.acknowledge(0, 9, 3)
    assert not watermark.acknowledge(0, 9, 3)
    assert not watermark.acknowledge(0, 9, 1)
    assert (watermark.next_offset, watermark.unfinished) == (4, 1)
    assert watermark.acknowledge(0, 9, 9)
    assert not watermark.acknowledge(0, 9, 9)
    assert (watermark.next_offset, watermark.unfinished) == (10, 0)


def test_what_holds_nothing_is_done_with_what_lies_before_it() -> None:
    """A marker behind the last record is committed with it, and not before."""
    watermark = single(0, 0, 1)
    assert not watermark.pass_over(2, 4)
    watermark.deliver(4, 5)
    assert not watermark.pass_over(6, 7)
    watermark.acknowledge(0, 0, 0)
    assert watermark.next_offset == 1
    watermark.acknowledge(1, 1, 1)
    assert watermark.next_offset == 4
    watermark.acknowledge(4, 5, 4)
    assert watermark.next_offset == 5
    watermark.acknowledge(4, 5, 5)
    assert watermark.next_offset == 7
    assert watermark.pass_over(7, 9)
    assert watermark.next_offset == 9


def test_nothing_that_was_delivered_is_passed_over() -> None:
    """Were it, its record would be committed unfinished."""
    watermark = PartitionWatermark(A, 0)
    watermark.deliver(0, 9)
    with pytest.raises(ContractViolationError, match="a/0: offsets 5-11 were passed over, but offset 9 was delivered"):
        watermark.pass_over(5, 12)


def test_half_a_chunk_does_not_let_the_next_one_pass() -> None:
    """The chunk ahead must be done to its last record."""
    watermark = PartitionWatermark(A, 0)
    watermark.deliver(0, 9)
    watermark.deliver(10, 19)
    watermark.acknowledge(0, 9, 8)
    with pytest.raises(ContractViolationError, match=r"a/0: offset 19 .* 0-9 is not done"):
        watermark.acknowledge(10, 19, 19)
    assert watermark.next_offset == 9


def test_an_offset_beyond_the_chunk_is_refused() -> None:
    """Nobody can be done with what was not delivered."""
    watermark = single(0, 0)
    with pytest.raises(ContractViolationError, match="offset 1 was acknowledged with chunk 0-0"):
        watermark.acknowledge(0, 0, 1)


def test_delivery_must_go_forward() -> None:
    """A chunk that overlaps what was delivered is a bug of the transport, not something to commit."""
    watermark = single(5, 5)
    with pytest.raises(ContractViolationError, match="chunk 5-9 was delivered after offset 5"):
        watermark.deliver(5, 9)


def test_a_withdrawn_chunk_was_never_delivered() -> None:
    """A put that the end of the flow prevented leaves no trace."""
    watermark = single(0, 0)
    watermark.deliver(1, 5)
    watermark.withdraw()
    watermark.acknowledge(0, 0, 0)
    assert (watermark.next_offset, watermark.unfinished) == (1, 0)


def test_nothing_is_committable_before_something_is_done() -> None:
    """A fresh assignment commits nothing, not even where it starts."""
    watermarks = Watermarks()
    watermarks.restart(3, {A: 7, B: 0})
    assert watermarks.committable() == {}
    watermarks.of(A).deliver(7, 9)
    watermarks.of(A).acknowledge(7, 9, 8)
    assert watermarks.committable() == {A: 9}


def test_where_a_partition_begins_is_committed_that_never_was() -> None:
    """Once, so that what is deleted before its first record was read can be told; and again after a log restarted."""
    watermarks = Watermarks()
    watermarks.restart(3, {A: 7, B: 0}, unstored=[B])
    assert watermarks.committable() == {B: 0}
    watermarks.committed(2, {B: 0})
    assert watermarks.committable() == {B: 0}
    watermarks.committed(3, {B: 0})
    assert watermarks.committable() == {}
    watermarks.restart_partition(A, 2)
    assert watermarks.committable() == {A: 2}


def test_what_is_stored_is_not_committed_again() -> None:
    """A commit is over when the broker stored it, and goes on when the watermark moved meanwhile."""
    watermarks = Watermarks()
    watermarks.restart(3, {A: 0})
    watermarks.of(A).deliver(0, 9)
    watermarks.of(A).acknowledge(0, 9, 4)
    offsets = watermarks.committable()
    watermarks.of(A).acknowledge(0, 9, 9)
    watermarks.committed(3, offsets)
    assert watermarks.committable() == {A: 10}
    watermarks.committed(3, {A: 10})
    assert watermarks.committable() == {}


def test_a_stale_generation_counts_for_nothing() -> None:
    """After the next assignment neither acknowledgements nor commits of the last one have an effect."""
    watermarks = Watermarks()
    watermarks.restart(3, {A: 0})
    old = watermarks.of(A)
    old.deliver(0, 9)
    watermarks.restart(4, {A: 0})
    old.acknowledge(0, 9, 9)
    assert not watermarks.is_live(old)
    assert watermarks.committable() == {}
    watermarks.of(A).deliver(0, 4)
    watermarks.of(A).acknowledge(0, 4, 4)
    watermarks.committed(3, {A: 10})
    assert watermarks.committable() == {A: 5}


def test_a_partition_made_anew_may_be_committed_below() -> None:
    """When the log restarted, the offset that the group had is no longer a floor."""
    watermarks = Watermarks()
    watermarks.restart(3, {A: 500})
    old = watermarks.of(A)
    watermarks.restart_partition(A, 0)
    assert not watermarks.is_live(old)
    watermarks.of(A).deliver(0, 9)
    watermarks.of(A).acknowledge(0, 9, 9)
    assert watermarks.committable() == {A: 10}


def test_a_commit_that_a_restart_overtakes() -> None:
    """An offset of the log from before is no floor for the one that is there, when it is stored after that began."""
    watermarks = Watermarks()
    watermarks.restart(3, {A: 500})
    watermarks.of(A).deliver(500, 599)
    watermarks.of(A).acknowledge(500, 599, 599)
    on_its_way = watermarks.committable()
    watermarks.restart_partition(A, 0)
    watermarks.committed(3, on_its_way)
    assert watermarks.committable() == {A: 0}
    watermarks.committed(3, {A: 0})
    watermarks.of(A).deliver(0, 9)
    watermarks.of(A).acknowledge(0, 9, 9)
    assert watermarks.committable() == {A: 10}


@st.composite
def deliveries(draw: st.DrawFn) -> tuple[int, list[tuple[int, int]]]:
    """A start, and chunks in ascending order with random gaps between them."""
    start = offset = draw(st.integers(0, 100))
    chunks = []
    for _ in range(draw(st.integers(1, 8))):
        offset += draw(st.integers(0, 3))
        last = offset + draw(st.integers(0, 4))
        chunks.append((offset, last))
        offset = last + 1
    return start, chunks


@given(deliveries(), st.data())
def test_against_a_model(plan: tuple[int, list[tuple[int, int]]], data: st.DataObject) -> None:
    """In whatever order it is acknowledged, the watermark is below every delivered record that is not done."""
    start, chunks = plan
    watermark = PartitionWatermark(A, start)
    for first, last in chunks:
        watermark.deliver(first, last)
    undone = [offset for first, last in chunks for offset in range(first, last + 1)]
    for _ in range(data.draw(st.integers(0, 20))):
        first, last = data.draw(st.sampled_from(chunks))
        through = data.draw(st.integers(first, last))
        before = watermark.next_offset
        ahead = [offset for offset in undone if offset < first]
        try:
            moved = watermark.acknowledge(first, last, through)
        except ContractViolationError:
            assert ahead, "only an unfinished record ahead is a violation"
            assert watermark.next_offset == before
            continue
        if moved:
            assert not ahead
            undone = [offset for offset in undone if offset > through]
        assert watermark.next_offset >= before
        assert all(offset >= watermark.next_offset for offset in undone)
        assert watermark.next_offset == start or watermark.next_offset - 1 in range(start, chunks[-1][1] + 1)


@given(st.integers(1, 60), st.data())
def test_heirs_see_every_record_that_is_not_done(length: int, data: st.DataObject) -> None:
    """Owners are killed one after the other: what an heir passes over was done, and what was done and told is passed.

    Records are done in any order; a commit stores the watermark with what is done ahead, in as much room as there is.
    """
    done: set[int] = set()
    stored: tuple[int, str] = (0, "")
    told: set[int] = set()
    for _ in range(data.draw(st.integers(1, 4), label="owners")):
        (start, text), believed = stored, told
        inherited = parted(text)[0]
        watermark = PartitionWatermark(A, start, inherited)
        flags: dict[int, bool] = {}
        position = start
        while position < length and data.draw(st.booleans(), label="delivers"):
            stop = min(length, position + data.draw(st.integers(1, 9), label="poll"))
            found = [Consumed(offset=offset) for offset in range(position, stop)]
            watermark.saw(Witness(stop - 1, 0))
            left = inherited.left_of(found) if inherited is not None else found
            passed = {one.offset for one in found} - {one.offset for one in left}
            assert passed <= done, "a record that is not done is never passed over"
            assert passed == believed & {one.offset for one in found}, "what was told is passed over"
            if left:
                first, last = left[0].offset, left[-1].offset
                watermark.deliver(first, last)
                chunk = [one.offset for one in left]
                flags.update(dict.fromkeys(chunk, False))

                def bits(chunk: list[int] = chunk, first: int = first, flags: dict[int, bool] = flags) -> int:
                    return sum(1 << (offset - first) for offset in chunk if flags[offset])

                watermark.ask(first, last, bits)
                position = last + 1
            if position < stop:
                watermark.pass_over(position, stop)
                position = stop
            for offset in data.draw(st.sets(st.sampled_from(sorted(flags))) if flags else st.just(set()), label="done"):
                flags[offset] = True
                done.add(offset)
            for first, last in list(watermark._chunks):
                through = [o for o in sorted(flags) if first <= o <= last]
                prefix = next((n for n, o in enumerate(through) if not flags[o]), len(through))
                if prefix:
                    watermark.acknowledge(first, last, through[prefix - 1])
                if prefix < len(through):
                    break
            if data.draw(st.booleans(), label="commits"):
                ahead = watermark.done_ahead()
                text = "" if ahead is None else rendered(ahead, data.draw(st.integers(0, 200), label="room"))
                stored = (watermark.next_offset, text)
                read = parted(text)[0]
                told = set() if read is None else {read.base + n for n in range(length) if read.bits >> n & 1}
        assert set(range(stored[0])) | told <= done


def test_a_log_that_began_anew_inherits_nothing() -> None:
    """Its offsets are other records: neither what was inherited counts any more, nor what is done of the old one."""
    watermarks = Watermarks()
    watermarks.restart(1, {A: 5}, inherited={A: DoneAhead(5, 0b10, Witness(6, 0))})
    watermarks.of(A).deliver(5, 5)
    assert watermarks.done_ahead() == {A: DoneAhead(5, 0b10, Witness(6, 0))}
    watermarks.restart_partition(A, 0)
    assert watermarks.done_ahead() == {}
    watermarks.of(A).ask(5, 5, lambda: 1)  # a chunk of the old log is no chunk of this one
    watermarks.of(A).saw(Witness(9, 0))
    assert watermarks.done_ahead() == {}


def test_the_witness_is_the_furthest_record() -> None:
    """What is read again lies before it, and does not take its place."""
    watermark = PartitionWatermark(A, 10, DoneAhead(10, 8, Witness(900, 1)))
    watermark.saw(Witness(12, 5))
    assert watermark.done_ahead() == DoneAhead(10, 8, Witness(900, 1))
