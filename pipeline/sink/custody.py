"""Custody: which partitions stand still on purpose: their oldest record is held by something that works.

While Customer.io is down for hours, records stand still and the process is well. A record that no lane holds, lost by a
bug, stands still too, and only a restart brings it back. The two are distinguished by looking where the partition's
oldest record is: in a lane that waits on purpose or shows signs of life, or outside because memory is full of such
records. Nothing is counted for it while records flow; a look goes through what waits, some milliseconds with full
memory, and is taken only for partitions that have stood still for seconds.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import chain

from faust.types import TP

from pipeline.sink.acks import Acks, TrackedChunk
from pipeline.sink.delivery import Delivery
from pipeline.sink.events import RequestEnded, SinkEvent
from pipeline.sink.intake import Intake
from pipeline.sink.lanes import Queue


class Custody:
    """Knows it from the parts that hold records. Belongs to one event loop."""

    def __init__(self, queue: Queue, delivery: Delivery, acks: Acks, intake: Intake) -> None:
        self._queue = queue
        self._delivery = delivery
        self._acks = acks
        self._intake = intake
        self._seen: set[int] = set()

    def observe(self, event: SinkEvent) -> None:
        """A request that ended is a sign of life of its lane."""
        if isinstance(event, RequestEnded):
            self._seen.add(event.lane)

    def stalled(self) -> None:
        """The brokers do not take dead letters at the moment: whoever writes some waits for that."""
        self._seen.update(self._delivery.busy)

    def attended(self, partitions: Collection[TP]) -> set[TP]:
        """The partitions whose oldest record a working part holds; signs of life count since the last call."""
        seen, self._seen = self._seen, set()
        alive = [lane for lane in self._delivery.busy if lane in seen or self._delivery.waits(lane)]
        if not alive:
            return set()
        heads, outside = self._acks.heads(), self._intake.outside
        attended: set[TP] = set()
        wanted: dict[TrackedChunk, tuple[int, TP]] = {}
        for tp in partitions:
            head = heads.get(tp)
            if head is None or (outside is not None and head.chunk is outside.chunk and head.index >= outside.index):
                if outside is not None:  # it waits before the memory, behind or as the one that wants room
                    attended.add(tp)
            else:
                wanted[head.chunk] = (head.index, tp)
        return attended | self._in_hand(alive, wanted) if wanted else attended

    def _in_hand(self, alive: Collection[int], wanted: Mapping[TrackedChunk, tuple[int, TP]]) -> set[TP]:
        """The partitions of those records that a lane holds, or that wait for one."""
        found: set[TP] = set()
        waiting = self._queue.waiting
        in_hand = [item for lane in alive for item in self._delivery.in_hand(lane)]
        ready = [*self._queue.shared, *waiting.drawable()]
        behind = waiting.behind({item.key for item in chain(in_hand, ready)})
        for item in chain(in_hand, ready, behind):
            place = wanted.get(item.chunk)
            if place is not None and place[0] == item.index:
                found.add(place[1])
                if len(found) == len(wanted):
                    break
        return found
