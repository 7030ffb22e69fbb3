"""Reads the topics for the wanted webhooks and what they caused: without a group or a commit, in a span of time."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from aiokafka.structs import TopicPartition

from pipeline.deadletters.letter import Letter, read_letter
from pipeline.deadletters.reader import LetterReader, open_letter_reader
from pipeline.deadletters.receipts import History, read_receipt
from pipeline.dodo.envelope import webhook_id_of
from pipeline.errors import ConfigurationError
from pipeline.kafka.cluster.admin import open_admin
from pipeline.kafka.cluster.topic_identity import unmarked
from pipeline.kafka.cluster.topic_reader import Span, TopicReader, open_topic_reader
from pipeline.kafka.cluster.topics import check_topics
from pipeline.kafka.records import WEBHOOK_ID, Record, text_header
from pipeline.kafka.worker.done_ahead import DoneAhead, parted
from pipeline.settings import Settings
from pipeline.trace.wanted import Wanted, data_of, whose

SKEW_MS: Final = 10 * 60_000
"""How much the clocks may differ that dated a webhook and what it caused."""

PATIENCE_S: Final = 30.0

Told = Callable[[str, int, int], None]
"""Shows progress: called with what is read, how many of its offsets are done, and of how many."""

Place = tuple[str, int, int]
"""Topic, partition, offset."""


class Letters(NamedTuple):
    """A dead letter and how often it was put back."""

    record: Record
    letter: Letter
    put_back: int


@dataclass(slots=True)
class Found:
    """Everything that was read.

    Attributes:
        webhooks: the records of the wanted webhooks, with copies and replays, as they are in the topic.
        operations: the operations that they caused, likewise.
        letters: dead letters about either.
        before: by customer, the webhooks and commands of theirs in the span, in the order of their partition.
        gone_before: by partition of the operations, the time (unix ms) before which retention has taken them; minus
            infinity where all are there.
        committed: by partition, the next offset that its group will process; a partition whose is unknown is missing.
        ahead: by partition, what its group has done beyond that offset (`pipeline.kafka.worker.done_ahead`).
        unknown: reasons why something could not be read.
    """

    webhooks: list[Record] = field(default_factory=list)
    operations: list[Record] = field(default_factory=list)
    letters: list[Letters] = field(default_factory=list)
    before: dict[str, list[Record]] = field(default_factory=dict)
    gone_before: dict[int, float] = field(default_factory=dict)
    committed: dict[TopicPartition, int | None] = field(default_factory=dict)
    ahead: dict[TopicPartition, DoneAhead] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)

    @property
    def ids(self) -> set[str]:
        """The ids of the webhooks."""
        return {webhook_id_of(record.headers, record.value or b"") for record in self.webhooks}


async def search(
    settings: Settings, wanted: Wanted, *, since_ms: int, until_ms: int | None, limit: int, told: Told
) -> Found:
    """The webhooks of `wanted` that were written between the two times (unix ms), and what they caused, also later.

    Args:
        settings: brokers, topics, groups.
        wanted: selects webhooks.
        since_ms: where reading begins.
        until_ms: where reading for webhooks ends; None: at the end of the topic.
        limit: so many webhooks at most, the newest.
        told: called to show the progress.

    Raises:
        TopicError: a topic does not exist, or this user may not read it.
        BrokerUnreachableError: no broker answered.
    """
    found = Found()
    async with AsyncExitStack() as stack:
        webhooks = await stack.enter_async_context(open_topic_reader(settings, settings.webhooks_topic, TopicReader))
        span = await _span(webhooks, since_ms, until_ms)
        found.webhooks = await _read(webhooks, span, wanted.matches, told, settings.webhooks_topic)
        found.webhooks.sort(key=lambda one: one.timestamp)
        wanted, left_out = wanted.following(found.webhooks)
        if wanted.followed:
            found.webhooks = await _read(webhooks, span, wanted.matches, told, f"{settings.webhooks_topic} by id")
        if left_out:
            found.unknown.append(f"{left_out} more customers had this address: of them only what names it is shown")
        # Before all that the stages write: of what they are behind by now every letter and operation is there to be
        # read, and what they come to meanwhile waits. Asked afterwards, they would be behind what nobody has read.
        await _committed_by_all(settings, found)
        letters = await stack.enter_async_context(open_letter_reader(settings))
        found.letters = await _letters(letters, wanted, found.ids, since_ms, told)
        _keep_newest(found, limit)
        if found.webhooks:
            await _before(webhooks, span, found, told, settings.webhooks_topic)
            ids = found.ids
            began_ms = min(record.timestamp for record in found.webhooks)
            operations = await stack.enter_async_context(
                open_topic_reader(settings, settings.operations_topic, TopicReader)
            )
            reached = await operations.since(max(0, began_ms), SKEW_MS)
            oldest_ms: dict[int, float] = {}

            def caused(record: Record) -> bool:
                oldest_ms.setdefault(record.partition, record.timestamp)
                return text_header(record.headers, WEBHOOK_ID) in ids

            found.operations = await _read(operations, reached, caused, told, settings.operations_topic)
            for number, whole in operations.spans.items():
                is_cut = 0 < whole.start == reached[number].start
                found.gone_before[number] = oldest_ms.get(number, math.inf) if is_cut else -math.inf
    return found


async def _span(reader: TopicReader, since_ms: int, until_ms: int | None) -> dict[int, Span]:
    span = await reader.since(since_ms, SKEW_MS)
    if until_ms is None:
        return span
    behind = await reader.since(until_ms, 0)
    return {number: Span(one.start, max(one.start, behind[number].start)) for number, one in span.items()}


async def _read(
    reader: TopicReader, span: Mapping[int, Span], wanted: Callable[[Record], bool], told: Told, what: str
) -> list[Record]:
    total = sum(one.length for one in span.values())
    found: list[Record] = []
    done = 0
    async with aclosing(reader.records(span)) as records:
        async for record in records:
            done += 1
            told(what, done, total)
            if wanted(record):
                found.append(record)
    return found


async def _letters(reader: LetterReader, wanted: Wanted, ids: set[str], since_ms: int, told: Told) -> list[Letters]:
    """Letters about the webhooks that were found, and letters of ingest, whose webhooks are in no other topic."""
    history = History()

    def about(record: Record) -> bool:
        if history.add(record) or read_receipt(record) is not None:
            return False
        return text_header(record.headers, WEBHOOK_ID) in ids or wanted.matches(record)

    read = await _read(reader, await reader.since(since_ms), about, told, "dead letters")
    letters = ((record, read_letter(record)) for record in read)
    return [Letters(record, letter, history.of(letter.identity).times) for record, letter in letters]


def _keep_newest(found: Found, limit: int) -> None:
    """At most `limit` webhooks, by when they were written last; of one that is a dead letter alone, when that was."""
    last: dict[str, int] = {}
    for record in found.webhooks:
        webhook_id = webhook_id_of(record.headers, record.value or b"")
        last[webhook_id] = max(last.get(webhook_id, 0), record.timestamp)
    alone: dict[str, int] = {}
    for one in found.letters:
        if (letter_of := one.letter.webhook_id) is not None and letter_of not in last:
            alone[letter_of] = max(alone.get(letter_of, 0), one.record.timestamp)
    last |= alone
    if len(last) <= limit:
        return
    kept = set(sorted(last, key=lambda one: last[one])[-limit:])
    found.webhooks = [one for one in found.webhooks if webhook_id_of(one.headers, one.value or b"") in kept]
    found.letters = [one for one in found.letters if one.letter.webhook_id in kept]
    found.unknown.append(f"{len(last) - limit} older webhooks are left out: --limit shows more, --since fewer")


async def _before(reader: TopicReader, span: Mapping[int, Span], found: Found, told: Told, what: str) -> None:
    """Read the other webhooks of the same customers: the decision depends on what was known of them."""
    customers = {one for record in found.webhooks if (one := customer_of(record)) is not None}
    if not customers:
        return
    needles = {customer: customer.encode() for customer in customers}
    last: dict[int, int] = {}
    for record in found.webhooks:
        last[record.partition] = max(last.get(record.partition, 0), record.offset)
    theirs = {number: Span(span[number].start, offset + 1) for number, offset in last.items() if number in span}

    def keep(record: Record) -> bool:
        kept = False
        for customer, needle in needles.items():
            if record.key == needle or needle in (record.value or b""):
                found.before.setdefault(customer, []).append(record)
                kept = True
        return kept

    await _read(reader, theirs, keep, told, f"{what} once more")


def customer_of(record: Record) -> str | None:
    """The id of the customer whom a webhook is about."""
    data = data_of(record.value or b"")
    named = [one for one in whose(None, data) if "@" not in one]
    return named[0] if named else None


async def _committed_by_all(settings: Settings, found: Found) -> None:
    if not found.webhooks:
        return
    async with open_admin(settings, patience_s=PATIENCE_S) as admin:
        topics = await check_topics(settings, (settings.webhooks_topic, settings.operations_topic), admin=admin)
        for group, topic in zip((settings.transform_group, settings.sink_group), topics, strict=True):
            partitions = [TopicPartition(topic, number) for number in range(topics[topic])]
            try:
                noted = await admin.noted(group, partitions)
            except ConfigurationError as error:
                found.unknown.append(f"how far the group {group} is cannot be seen: {error}")
                continue
            for tp, one in noted.items():
                found.committed[tp] = None if one is None else one[0]
                ahead = None if one is None else parted(unmarked(one[1])[1])[0]
                if ahead is not None and ahead.base == found.committed[tp]:
                    found.ahead[tp] = ahead
