"""Intake: delivered chunks become items in their lanes, as far as memory allows."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from pipeline.sink.acks import Acks, Delivered
from pipeline.sink.admission import fault_of, is_barrier
from pipeline.sink.handover import SinkHandOver
from pipeline.sink.item import Item
from pipeline.sink.lanes import Lane, lane_of
from pipeline.sink.memory import Memory

RECORD_OVERHEAD_BYTES: Final = 1_700
"""What a record with our seven headers and its item take beside the value's bytes (1,680 measured with tracemalloc)."""

TURN_RECORDS: Final = 250
"""Records between two turns of the event loop: about a millisecond, so that lanes begin while a chunk is taken in."""


class Intake:
    """Puts the records of chunks into lanes. One caller at a time: order within a partition is the caller's."""

    def __init__(self, lanes: Sequence[Lane], memory: Memory, acks: Acks, handover: SinkHandOver) -> None:
        self._lanes = lanes
        self._memory = memory
        self._acks = acks
        self._handover = handover

    async def take(self, batch: Delivered) -> None:
        """Return when every record of `batch` is in its lane, or the batch is of no concern any more.

        Waits while memory is full; that wait is what pauses the consumer. A hand-over ends it: the records that are
        not in a lane by then are left to the partition's next owner.
        """
        if not self._handover.admits(batch.generation):
            return
        chunk = self._acks.open(batch)
        lanes, try_take = self._lanes, self._memory.try_take
        for index, record in enumerate(batch.records):
            if index and index % TURN_RECORDS == 0:
                await asyncio.sleep(0)
                if not self._handover.admits(batch.generation):
                    return
            value, key = record.value or b"", record.key or b""
            size = len(value) + RECORD_OVERHEAD_BYTES
            if not try_take(size):
                if not await self._memory.take(size):
                    return
                if not self._handover.admits(batch.generation):
                    self._memory.release(size)  # granted in the same turn in which the hand-over began
                    return
            fault = fault_of(value)
            if fault is None:
                item = Item(record, value, key, is_barrier(record.headers), chunk, index, size)
            else:
                item = Item(record, b"", key, barrier=False, chunk=chunk, index=index, taken_bytes=size, fault=fault)
            self._handover.took()
            lanes[lane_of(key, len(lanes))].put(item)
