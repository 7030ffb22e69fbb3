"""Intake: delivered chunks become items that wait for a lane, as far as memory allows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from pipeline.customerio.limits import ITEM_MAX_BYTES
from pipeline.customerio.vouching import word_for
from pipeline.kafka.fetched import UnreadableRecord
from pipeline.kafka.records import CHECKED, Record
from pipeline.sink.acks import Acks, Delivered, OldestRecord, TrackedChunk
from pipeline.sink.admission import UNREMARKABLE, admit
from pipeline.sink.backlog import Backlog
from pipeline.sink.early import Early
from pipeline.sink.handover import SinkHandOver
from pipeline.sink.item import Item
from pipeline.sink.lanes import Queue
from pipeline.sink.memory import Memory
from pipeline.sink.removals import Removals, removes
from pipeline.sink.weight import weights

TURN_RECORDS: Final = 250
"""Records between two turns of the event loop: about a millisecond, so that lanes begin while a chunk is taken in."""

UNREAD_LOOK_S: Final = 0.1
"""How often it is looked whether it is known who is removed further on in a partition that had no leader."""


class Intake:
    """Puts the records of chunks into the queue. One caller at a time: order within a partition is the caller's."""

    def __init__(
        self,
        queue: Queue,
        memory: Memory,
        acks: Acks,
        handover: SinkHandOver,
        backlog: Backlog,
        *,
        early: Early,
        removals: Removals,
        passed_over: Callable[[int], None],
    ) -> None:
        self._queue = queue
        self._memory = memory
        self._acks = acks
        self._handover = handover
        self._backlog = backlog
        self._early = early
        self._removals = removals
        self._passed_over = passed_over
        self.outside: OldestRecord | None = None  # the record that waits for memory, with all others behind it

    async def take(self, batch: Delivered) -> None:
        """Return when every record of `batch` is in the queue, or the batch is of no concern any more.

        Waits while memory is full; that wait is what pauses the consumer. A hand-over ends it: the records that are
        not in the queue by then are left to the partition's next owner.
        """
        assignment = self._handover.assignment
        if batch.generation != assignment.generation or not self._handover.admits(assignment):
            return
        while self._removals.is_unread(batch.partition):
            if not await self._handover.nap(UNREAD_LOOK_S) or not self._handover.admits(assignment):
                return
        chunk = self._acks.open(batch, assignment)
        records = batch.records
        for start in range(0, len(records), TURN_RECORDS):
            if start:
                await asyncio.sleep(0)
                if not self._handover.admits(assignment):
                    return
            part = records[start : start + TURN_RECORDS]
            sizes = weights(part)
            # Room for all of them is one question, no room is one for each: see `memory`.
            if self._memory.try_take_all(sum(sizes)):
                self._admit(part, sizes, chunk, start)
                continue
            for index, (record, size) in enumerate(zip(part, sizes, strict=True), start):
                if not await self._room(size, OldestRecord(chunk, index)):
                    return
                if not self._handover.admits(assignment):
                    self._memory.release(size)  # granted in the same turn in which the hand-over began
                    return
                self._admit((record,), (size,), chunk, index)
        self._backlog.taken(batch)

    async def _room(self, size: int, head: OldestRecord) -> bool:
        if self._memory.try_take(size):
            return True
        self._backlog.stall()
        self.outside = head
        try:
            return await self._memory.take(size)
        finally:
            self.outside = None
            self._backlog.flow()

    def _admit(self, records: Sequence[Record], sizes: Sequence[int], chunk: TrackedChunk, start: int) -> None:
        """Put records into the queue, whose memory of these sizes is taken."""
        put = self._queue.waiting.put
        index = start
        gone: list[Item] = []
        ahead = self._removals if self._removals.any else None
        any_early = len(self._early) > 0
        for record, size in zip(records, sizes, strict=True):
            value, key = record.value or b"", record.key or b""
            headers = record.headers
            if (  # nearly every record is the transform's, of which the first header is enough; others are checked
                value
                and headers
                and headers[0] == (CHECKED, word_for(value))
                and len(value) <= ITEM_MAX_BYTES
                and type(record) is not UnreadableRecord
            ):
                fault, barrier, is_early = UNREMARKABLE
            else:
                fault, barrier, is_early = admit(record)
            body = value if fault is None else b""
            item = Item(record, body, key, barrier, chunk, index, size, fault)
            if any_early and fault is None and removes(value):
                self.put_all(self._early.take_back(key))  # behind it they would bring the person back
            if ahead is not None and fault is None and ahead.cover(record):
                gone.append(item)
            elif is_early and not barrier and fault is None and (delay_s := self._early.delay_s(record.headers)):
                self._early.hold(item, delay_s, self._queue.put)
                any_early = True
            else:
                put(item)
            index += 1
        self._handover.took(len(records) - len(gone))
        if gone:
            self._memory.release(sum([item.taken_bytes for item in gone]))
            self._acks.complete(gone)
            self._passed_over(len(gone))

    def put_all(self, items: Sequence[Item]) -> None:
        """Put into the queue what waited elsewhere."""
        for item in items:
            self._queue.put(item)
