"""Decides to which topic a dead letter is put back: to the input of the stage that failed. Pure.

Letters of the transform go to the webhooks, letters of the sink to the operations. What ingest could not read never was
a record: it goes to the webhooks only if this version can read it, under the key that it would have had.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from pipeline.deadletters.envelope import BATCH, original_of
from pipeline.deadletters.letter import Letter
from pipeline.dodo.envelope import kafka_key, parse, webhook_id_of
from pipeline.errors import UnreadableBodyError
from pipeline.kafka.records import DODO_COMMAND, DODO_TYPE, OutRecord, Record, header, place_in

DEFAULT_MAX_REPLAYS: Final = 3
"""A record that became a dead letter four times has a fault that another replay does not change."""

NO_LETTER: Final = "it is no dead letter: it has no header dlq-stage"
NO_STAGE: Final = "its stage is none of this version's"
NO_CONTENT: Final = (
    "its content was not kept (too large for the topic, or there was none): the record lies at dlq-source until that "
    "topic's retention deletes it"
)
A_BATCH: Final = (
    "it is a whole batch that could not be decoded, and no record of a topic: start a version that can read it, and "
    "set the group back to dlq-source while that still lies there"
)
NO_WEBHOOK: Final = (
    "ingest could not read it and cannot now: it is no webhook. Look at it with `dodo-cio dlq show`, and if it should "
    "have been one, have Dodo send it again from its dashboard"
)


@dataclass(frozen=True, slots=True)
class Targets:
    """Names of the topics at the start of the stages."""

    webhooks: str
    operations: str


@dataclass(frozen=True, slots=True)
class ReplayRecord:
    """Put `record` back into `topic`; `partition` is set only if the record has no key and its partition is known."""

    topic: str
    record: OutRecord
    partition: int | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """Do not put it back; `reason` is the same text for all letters of the kind."""

    reason: str


def decide(
    record: Record, letter: Letter, targets: Targets, *, max_replays: int, put_back: int = 0
) -> ReplayRecord | Refused:
    """The decision about a letter.

    Args:
        record: as it is in the dead-letter topic.
        letter: `record`, read.
        targets: the topics at the start of the stages.
        max_replays: how often one record may be put back.
        put_back: how often this letter was put back already; without it a repetition would never reach the cap.
    """
    if letter.stage is None:
        return Refused(NO_LETTER)
    if letter.replays + put_back >= max_replays:
        return Refused(f"it was put back {max_replays} times or more already and died again (--max-replays)")
    if letter.field is not None and letter.field.startswith(BATCH):
        return Refused(A_BATCH)
    match letter.stage:
        case "transform" | "sink" if record.value is None and header(record.headers, DODO_COMMAND) is None:
            return Refused(NO_CONTENT)
        case "transform":
            return _return(record, letter, targets.webhooks)
        case "sink":
            return _return(record, letter, targets.operations)
        case "ingest":
            return _as_webhook(record, targets.webhooks)
        case _:
            return Refused(NO_STAGE)


def _return(record: Record, letter: Letter, topic: str) -> ReplayRecord:
    return ReplayRecord(topic, original_of(record), _partition_of(letter, topic) if record.key is None else None)


def _partition_of(letter: Letter, topic: str) -> int | None:
    """The partition that the record came from, if it came from `topic`."""
    place = place_in(topic, letter.source)
    return None if place is None else place[0]


def _as_webhook(record: Record, topic: str) -> ReplayRecord | Refused:
    body = record.value or b""
    try:
        envelope = parse(body)
    except UnreadableBodyError:
        return Refused(NO_WEBHOOK)
    original = original_of(record)
    headers = original.headers
    if header(headers, DODO_TYPE) is None:
        headers = ((DODO_TYPE, envelope.type.encode()), *headers)
    key = kafka_key(envelope, webhook_id_of(headers, body))
    return ReplayRecord(topic, replace(original, key=key, headers=headers))
