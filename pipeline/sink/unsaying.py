"""Informs the transform that an identify was given up, which its state remembers as sent.

Without it the next webhook of the customer would find the profile unchanged and send nothing. The command goes to the
owner of the customer, through the topic of webhooks; a sink that may not write there logs that once and goes on. So it
does with a command that the topic cannot hold, since the dead letter is durable by then.
"""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from pipeline import logs
from pipeline.errors import RecordTooLargeError, TopicError
from pipeline.kafka.producer.producer import BatchProducer
from pipeline.kafka.records import (
    DODO_COMMAND,
    DODO_MODE,
    IDENTITY,
    IDENTITY_OF,
    UNTOLD,
    WEBHOOK_ID,
    OutRecord,
    Record,
    source_of,
    text_header,
)

log = logs.get(__name__)


class Unsaying:
    """Writes the commands."""

    def __init__(self, producer: BatchProducer, topic: str) -> None:
        self._producer = producer
        self._topic = topic
        self._may = False

    async def prime(self) -> None:
        """Learn the topic's partitions; without the right to, nothing will be written."""
        try:
            await self._producer.prime(self._topic)
        except TopicError as error:
            self._cannot(error)
        else:
            self._may = True

    async def __call__(self, given_up: Sequence[Record]) -> None:
        """Return when the command for every identify among them is durable, or cannot be written."""
        told = [(record, command) for record in given_up if (command := command_of(record)) is not None]
        if not (told and self._may):
            return
        chunk = self._producer.chunk()
        for record, command in told:
            partition = self._producer.partition_for(self._topic, command.key)
            try:
                chunk.append(self._topic, partition, command)
            except RecordTooLargeError as error:  # of another producer's headers: no state remembers such an identity
                log.warning(
                    "the transform cannot be told of a refused profile: the record's headers are too large",
                    topic=self._topic, source=source_of(record), reason=str(error),
                )  # fmt: skip
        try:
            await chunk.send()
        except TopicError as error:
            self._may = False
            self._cannot(error)

    def _cannot(self, error: TopicError) -> None:
        log.warning(
            "The transform cannot be told of profiles that Customer.io refused, and will not send one again before it "
            "changes: this user needs WRITE and DESCRIBE on the topic",
            topic=self._topic, error=str(error),
        )  # fmt: skip


def command_of(record: Record) -> OutRecord | None:
    """The command that unsays an identify; None for what no state remembers."""
    whose, identity = text_header(record.headers, IDENTITY_OF), text_header(record.headers, IDENTITY)
    if whose is None or identity is None:
        return None
    value = {"command": UNTOLD, "customer_id": whose, "identity": identity}
    return OutRecord(
        whose.encode(),
        orjson.dumps(value),
        (
            (DODO_COMMAND, UNTOLD.encode()),
            (WEBHOOK_ID, f"{UNTOLD}_{identity}".encode()),
            (DODO_MODE, b"live"),
        ),
    )
