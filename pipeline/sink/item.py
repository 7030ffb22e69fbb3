"""One record on its way to Customer.io."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.deadletters.envelope import DeadLetterClass
from pipeline.kafka.records import Record
from pipeline.sink.acks import TrackedChunk
from pipeline.sink.handover import Assignment


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a record cannot travel in a batch, known before any request."""

    class_: DeadLetterClass
    reason: str


@dataclass(slots=True, eq=False)
class Item:
    """A record between its arrival and its acknowledgement.

    Attributes:
        record: as consumed; what a dead letter keeps.
        body: the operation, byte for byte as it goes into a batch; empty when there is a `fault` for which it must not.
        key: whose operation it is. No key is in two requests at once.
        barrier: later operations of the same key travel only after this one was accepted or refused.
        chunk: the chunk of its partition that it was delivered with.
        index: its place in that chunk.
        taken_bytes: memory that it holds until it is done.
    """

    record: Record
    body: bytes
    key: bytes
    barrier: bool
    chunk: TrackedChunk
    index: int
    taken_bytes: int
    fault: Fault | None = None

    @property
    def assignment(self) -> Assignment:
        """The stay in the group in which it was delivered."""
        return self.chunk.assignment
