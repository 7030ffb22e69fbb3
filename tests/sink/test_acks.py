"""Contiguous acknowledgements, against a model."""

from __future__ import annotations

import gc
import weakref
from dataclasses import dataclass
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pipeline.kafka.worker.batches import RecordBatch
from pipeline.kafka.worker.done_ahead import SPAN
from pipeline.sink.acks import DONE, Acks, TrackedChunk
from pipeline.sink.handover import Assignment

HERE = Assignment(1, frozenset())


@dataclass(frozen=True, eq=False)
class Place:
    """A record's place."""

    chunk: TrackedChunk
    index: int
    partition: int
    offset: int


@given(st.data())
def test_contiguous_prefix(make: Any, data: st.DataObject) -> None:
    """Whatever the order of completion, each partition's acknowledged offset is the end of its done prefix."""
    acks = Acks()
    acked: dict[int, int] = {}
    places: list[Place] = []
    offsets: dict[int, list[int]] = {0: [], 1: []}
    for partition in offsets:
        offset = 0
        for length in data.draw(st.lists(st.integers(1, 5), max_size=4)):
            records = []
            for _ in range(length):
                offset += data.draw(st.integers(1, 3))  # compaction leaves holes
                records.append(make.record("ann", offset, partition=partition))
            offsets[partition] += [one.offset for one in records]

            def on_ack(through: int, partition: int = partition, records: list[Any] = records) -> None:
                assert records[0].offset <= through <= records[-1].offset
                assert through > acked.get(partition, -1), "no acknowledgement goes back"
                acked[partition] = through

            chunk = acks.open(RecordBatch.of("t", partition, records, 1, on_ack), HERE)
            places += [Place(chunk, index, partition, one.offset) for index, one in enumerate(records)]
    done: set[tuple[int, int]] = set()
    waiting = data.draw(st.permutations(places))
    while waiting:
        count = data.draw(st.integers(1, len(waiting)))
        group, waiting = waiting[:count], waiting[count:]
        acks.complete(group)
        done |= {(place.partition, place.offset) for place in group}
        for partition, known in offsets.items():
            prefix = [offset for offset in known if (partition, offset) in done]
            contiguous = -1
            for offset, finished in zip(known, prefix, strict=False):
                if offset != finished:
                    break
                contiguous = offset
            assert acked.get(partition, -1) == contiguous
        assert acks.undone == len(waiting)
    assert acks.oldest_ms is None


def test_oldest(make: Any) -> None:
    """The oldest record that holds a partition back is known, not the oldest that happens to be undone."""
    acks = Acks()
    records = [make.record("ann", offset) for offset in range(3)]
    times = [type(one)(**{**vars(one), "timestamp": 100 + one.offset}) for one in records]
    chunk = acks.open(RecordBatch.of("t", 0, times), HERE)
    assert acks.oldest_ms == 100
    acks.complete([Place(chunk, 0, 0, 0)])
    assert acks.oldest_ms == 101


def test_older_assignments_are_forgotten(make: Any) -> None:
    """After a rebalance the records of the older assignment count no more, and finishing them late is harmless."""
    acks = Acks()
    late: list[int] = []
    chunk = acks.open(RecordBatch.of("t", 0, [make.record("ann", 5)], 1, late.append), HERE)
    acks.restart()
    assert acks.undone == 0
    acks.complete([Place(chunk, 0, 0, 5)])
    assert acks.undone == 0


def test_records_are_let_go() -> None:
    """While a chunk is not done it keeps no record: a stuck lane must not hold what other lanes have finished."""

    class Heavy:
        offset, timestamp = 1, 1

    record: Any = Heavy()
    gone = weakref.ref(record)
    batch = RecordBatch.of("t", 0, [record])
    acks = Acks()
    acks.open(batch, HERE)
    del record, batch
    gc.collect()
    assert gone() is None
    assert acks.undone == 1


@given(offsets=st.sets(st.one_of(st.integers(0, 40), st.integers(SPAN - 3, SPAN + 20)), min_size=1), data=st.data())
def test_which_offsets_are_done(make: Any, offsets: set[int], data: st.DataObject) -> None:
    """Bit by bit from the first record on; compaction leaves holes, and what is too far ahead is left out."""
    there = sorted(offsets)
    acks = Acks()
    batch = RecordBatch.of("t", 0, [make.record("ann", offset) for offset in there], 1, lambda _: None)
    chunk = acks.open(batch, HERE)
    done = data.draw(st.sets(st.sampled_from(there)))
    for offset in done:
        chunk.flags[there.index(offset)] = DONE
    dense = len(there) == there[-1] - there[0] + 1
    wanted = {offset - there[0] for offset in done if dense or offset - there[0] < SPAN}
    found = f"{chunk.done_bits():b}"[::-1]
    assert {bit for bit, is_set in enumerate(found) if is_set == "1"} == wanted
