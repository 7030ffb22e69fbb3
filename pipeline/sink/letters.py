"""Dead letters of the sink: a record that is given up is in the dead letters' topic before it counts as done."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pipeline import logs
from pipeline.customerio.outcomes import Refusal
from pipeline.deadletters.envelope import DeadLetterClass, dead_letter, without_content
from pipeline.deadletters.logged import log_letters
from pipeline.errors import RecordTooLargeError
from pipeline.kafka.producer.sending import Outgoing, Producer
from pipeline.kafka.records import Record, source_of
from pipeline.sink.events import RecordDeadLettered, SinkEvent
from pipeline.sink.group import Group
from pipeline.sink.item import Item
from pipeline.sink.weight import sent_bytes
from pipeline.telemetry.traceparent import trace_id_of

log = logs.get(__name__)

HEADERS_BYTES: Final = 4096
"""What an envelope adds to a record at most: a reason and a field of 1,000 bytes each, and short headers."""

CHUNK_BYTES: Final = 4 * 1024 * 1024
"""Of records that leave together. All operations of a batch are one chunk; records of other producers may have a
megabyte each, and as many of them as fit into the sink's memory must not be copied at once."""

TURN_LETTERS: Final = 250
"""Letters between two turns of the event loop: some milliseconds."""


@dataclass(frozen=True, slots=True)
class GivenUp:
    """A record that is given up, and why."""

    item: Item
    class_: DeadLetterClass
    reason: str
    field: str | None = None
    status: int | None = None
    attempts: int = 1


class DeadLetters:
    """Writes to the dead-letter topic. While that is not possible, whoever writes waits: nothing is skipped."""

    def __init__(
        self,
        producer: Producer,
        topic: str,
        emit: Callable[[SinkEvent], None],
        unsay: Callable[[Sequence[Record]], Awaitable[None]] | None = None,
    ) -> None:
        self._producer = producer
        self._topic = topic
        self._emit = emit
        self._unsay = unsay

    async def refused(self, group: Group, refused: Mapping[int, Refusal]) -> list[Item]:
        """Give up the operations at these indexes of the group; returns them when all letters are durable."""
        given_up = [
            GivenUp(
                group.items[index],
                "refused",
                refusal.text,
                field=refusal.field,
                status=refusal.status or None,
                attempts=group.attempts,
            )
            for index, refusal in sorted(refused.items())
        ]
        await self.write(given_up)
        return [one.item for one in given_up]

    async def undeliverable(self, group: Group, reason: str, status: int | None) -> list[Item]:
        """Give up the only operation of the group, for which there is never an answer; returns it."""
        told = (
            f"no success in {group.attempts} attempts, {group.patience.alone} of them alone, "
            f"while others were accepted; {reason}"
        )
        await self.write([GivenUp(group.items[0], "undeliverable", told, status=status, attempts=group.attempts)])
        return group.items

    async def unusable(self, items: Sequence[Item]) -> None:
        """Give up records that cannot travel in a batch; returns when all letters are durable."""
        await self.write(
            [GivenUp(item, item.fault.class_, item.fault.reason) for item in items if item.fault is not None]
        )

    async def write(self, given_up: Sequence[GivenUp]) -> None:
        """Return when every letter is durable; letters of one partition lie there in the order given.

        After that, a state that remembers an identify among them as sent is corrected.

        When one of them is not known to be durable this raises, and none may count as done.

        Raises:
            BrokenSequenceError: this producer cannot write any more; the process must start anew.
        """
        chunk, size = self._producer.chunk(), 0
        for number, one in enumerate(given_up, 1):
            self._append(chunk, one)
            size += sent_bytes(one.item.record)
            if size >= CHUNK_BYTES:
                await chunk.send()
                chunk, size = self._producer.chunk(), 0
            elif not number % TURN_LETTERS:
                await asyncio.sleep(0)
        await chunk.send()
        if self._unsay is not None:
            await self._unsay([one.item.record for one in given_up])
        self._tell(given_up)

    def _append(self, chunk: Outgoing, one: GivenUp) -> None:
        letter = dead_letter(
            one.item.record,
            stage="sink",
            class_=one.class_,
            reason=one.reason,
            at_ms=time.time_ns() // 1_000_000,
            field=one.field,
            status=one.status,
            attempts=one.attempts,
        )
        partition = self._producer.partition_for(self._topic, letter.key)
        try:
            chunk.append(self._topic, partition, letter)
        except RecordTooLargeError as error:
            log.warning(
                "a dead letter is too large for its topic; only its place is kept",
                source=source_of(one.item.record), reason=str(error),
            )  # fmt: skip
            chunk.append(self._topic, partition, without_content(letter))

    def _tell(self, given_up: Sequence[GivenUp]) -> None:
        log_letters(log, given_up, _fields)
        for one in given_up:
            record = one.item.record
            self._emit(RecordDeadLettered(one.class_, source_of(record), one.status, one.attempts, record))


def _fields(one: GivenUp) -> dict[str, Any]:
    trace_id = trace_id_of(one.item.record.headers)
    return {
        "dlq_class": one.class_,
        "source": source_of(one.item.record),
        "field": one.field,
        "status": one.status,
        "attempts": one.attempts,
        **({} if trace_id is None else {"trace_id": trace_id}),
    }
