"""What an agent holds in its hands."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.kafka.worker.batches import RecordBatch


@dataclass
class Stored:
    """A consumed record."""

    topic: str
    partition: int
    offset: int
    timestamp: int = 0
    key: bytes | None = None
    value: bytes | None = b"{}"
    headers: tuple[tuple[str, bytes], ...] = ()


def test_a_batch_can_be_built_without_kafka() -> None:
    """Its place, generation and offsets come from what it is given; its records are iterated in order."""
    records = [Stored("a", 3, 7), Stored("a", 3, 9)]
    batch = RecordBatch.of("a", 3, records, generation=5)
    assert (batch.topic, batch.partition, batch.tp, batch.generation) == ("a", 3, ("a", 3), 5)
    assert (batch.first_offset, batch.last_offset, len(batch)) == (7, 9, 2)
    assert list(batch) == records
    assert repr(batch) == "<RecordBatch a/3/7-9 of 5>"


def test_acknowledgements_reach_the_transport() -> None:
    """`done` is the acknowledgement of the last offset."""
    acknowledged: list[int] = []
    batch = RecordBatch.of("a", 3, [Stored("a", 3, 7), Stored("a", 3, 9)], on_ack=acknowledged.append)
    batch.ack(7)
    batch.done()
    assert acknowledged == [7, 9]
