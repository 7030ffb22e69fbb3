"""Dead letters of the sink: a record that is given up is written down before it counts as done."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from pipeline import logs
from pipeline.customerio.outcomes import Refusal
from pipeline.deadletters.envelope import DeadLetterClass, dead_letter, without_content
from pipeline.errors import RecordTooLargeError
from pipeline.kafka.records import OutRecord, source_of
from pipeline.sink.events import RecordDeadLettered, SinkEvent
from pipeline.sink.group import Group
from pipeline.sink.item import Item

log = logs.get(__name__)

HEADERS_BYTES: Final = 4096
"""What an envelope adds to a record at most: a reason and a field of 1,000 bytes each, and short headers."""


class Producer(Protocol):
    """`pipeline.kafka.producer.BatchProducer` fits."""

    async def send(self, topic: str, record: OutRecord) -> tuple[int, int]:
        """Return when `record` is durable, however long that takes."""


class DeadLetters:
    """Writes to the dead-letter topic. While that is not possible, whoever writes waits: nothing is skipped."""

    def __init__(self, producer: Producer, topic: str, emit: Callable[[SinkEvent], None]) -> None:
        self._producer = producer
        self._topic = topic
        self._emit = emit

    async def refused(self, group: Group, refused: Mapping[int, Refusal]) -> list[Item]:
        """Give up the operations at these indexes of the group; returns them when all letters are durable."""
        await asyncio.gather(
            *(
                self.write(
                    group.items[index],
                    "refused",
                    refusal.text,
                    field=refusal.field,
                    status=refusal.status or None,
                    attempts=group.attempts,
                )
                for index, refusal in refused.items()
            )
        )
        return [group.items[index] for index in refused]

    async def undeliverable(self, group: Group, reason: str, status: int | None) -> list[Item]:
        """Give up the only operation of the group, for which there is never an answer; returns it."""
        told = (
            f"no success in {group.attempts} attempts, {group.patience.alone} of them alone, "
            f"while others were accepted; {reason}"
        )
        await self.write(group.items[0], "undeliverable", told, status=status, attempts=group.attempts)
        return group.items

    async def unusable(self, items: Sequence[Item]) -> None:
        """Give up records that cannot travel in a batch."""
        await asyncio.gather(
            *(self.write(item, item.fault.class_, item.fault.reason) for item in items if item.fault is not None)
        )

    async def write(
        self,
        item: Item,
        class_: DeadLetterClass,
        reason: str,
        *,
        field: str | None = None,
        status: int | None = None,
        attempts: int = 1,
    ) -> None:
        """Return when the dead letter of `item` is durable.

        Raises:
            BrokenSequenceError: this producer cannot write any more; the process must start anew.
        """
        letter = dead_letter(
            item.record,
            stage="sink",
            class_=class_,
            reason=reason,
            at_ms=time.time_ns() // 1_000_000,
            field=field,
            status=status,
            attempts=attempts,
        )
        source = source_of(item.record)
        try:
            await self._producer.send(self._topic, letter)
        except RecordTooLargeError as error:
            why = str(error)
            log.warning("a dead letter is too large for its topic; only its place is kept", source=source, reason=why)
            await self._producer.send(self._topic, without_content(letter))
        log.warning("dead letter", dlq_class=class_, source=source, field=field, status=status, attempts=attempts)
        self._emit(RecordDeadLettered(class_, source, status, attempts))
