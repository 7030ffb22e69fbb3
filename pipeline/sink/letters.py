"""Dead letters of the sink: a record that is given up is written down before it counts as done."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from pipeline import logs
from pipeline.deadletters.envelope import DeadLetterClass, dead_letter
from pipeline.kafka.records import OutRecord, source_of
from pipeline.sink.events import RecordDeadLettered, SinkEvent
from pipeline.sink.item import Item

log = logs.get(__name__)


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
        await self._producer.send(self._topic, letter)
        source = source_of(item.record)
        log.warning("dead letter", dlq_class=class_, source=source, field=field, status=status, attempts=attempts)
        self._emit(RecordDeadLettered(class_, source, status, attempts))
