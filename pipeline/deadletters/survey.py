"""Reads the dead-letter topic for a purpose: for its receipts, for all letters, or for those of a plan."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing

from pipeline.deadletters.erasure import is_tombstone
from pipeline.deadletters.letter import Letter, read_letter
from pipeline.deadletters.plan import Plan, ReplayRules
from pipeline.deadletters.reader import LetterReader
from pipeline.deadletters.receipts import History, read_receipt
from pipeline.deadletters.replay import ReplayRecord
from pipeline.kafka.cluster.topic_reader import Span
from pipeline.kafka.records import Record

Told = Callable[[], None]
"""Called for each record that was read."""


def silent() -> None:
    """Do nothing: the default where no progress is shown."""


async def read_history(
    reader: LetterReader,
    spans: Mapping[int, Span],
    told: Told = silent,
    *,
    known: History | None = None,
    also: Callable[[Record], None] = lambda _record: None,
) -> History:
    """Every receipt of `spans`, added to those that are `known`; `also` is called with every record.

    Read it before the letters: a receipt may lie in any partition, and always later.
    """
    history = known or History()
    async with aclosing(reader.records(spans)) as records:
        async for record in records:
            history.add(record)
            also(record)
            told()
    return history


async def letters(
    reader: LetterReader, spans: Mapping[int, Span], told: Told = silent
) -> AsyncGenerator[tuple[Record, Letter], None]:
    """Every letter of `spans` with its record, in order within each partition; without receipts and tombstones."""
    async with aclosing(reader.records(spans)) as records:
        async for record in records:
            told()
            if read_receipt(record) is None and not is_tombstone(record):
                yield record, read_letter(record)


async def make_plan(
    reader: LetterReader,
    rules: ReplayRules,
    history: History,
    *,
    doomed: Callable[[Record, Letter], bool] = lambda _record, _letter: False,
    told: Told = silent,
) -> Plan:
    """The plan of a replay by these rules. `doomed` returns whether a letter's stage would give it up again."""
    plan = Plan(rules)
    spans = await reader.since(rules.filter.since_ms)
    async with aclosing(letters(reader, spans, told)) as found:
        async for record, letter in found:
            meant = rules.filter.matches(letter)
            plan.consider(record, letter, history, doomed=meant and doomed(record, letter))
    return plan


async def chosen(
    reader: LetterReader, plan: Plan, history: History
) -> AsyncGenerator[tuple[Letter, ReplayRecord], None]:
    """The letters of the plan, ready to be put back, without those that were deleted or put back meanwhile."""
    left = {partition: iter(offsets) for partition, offsets in plan.chosen.items()}
    wanted = {partition: next(offsets, None) for partition, offsets in left.items()}
    async with aclosing(reader.records(plan.spans)) as records:
        async for record in records:
            partition = record.partition
            while (offset := wanted[partition]) is not None and offset < record.offset:
                wanted[partition] = next(left[partition], None)
            if offset != record.offset:
                continue
            letter = read_letter(record)
            if history.of(letter.identity).times and not plan.rules.again:
                continue  # another command put it back after the plan was made
            match plan.rules.decide(record, letter, history):
                case ReplayRecord() as back:
                    yield letter, back
