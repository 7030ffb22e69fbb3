"""Reads webhooks from their topic, and decides each twice."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from contextlib import AbstractContextManager, aclosing
from typing import Final, Literal, NamedTuple, Protocol

from pipeline.kafka.cluster.topic_reader import Span, TopicReader, open_topic_reader
from pipeline.kafka.records import Record
from pipeline.preview.past import Footprint, Past, past_of
from pipeline.preview.report import Report
from pipeline.preview.spans import newest
from pipeline.preview.worlds import Both, is_echo
from pipeline.settings import Settings
from pipeline.transform.policy import Policy
from pipeline.transform.shaping.differences import differences

SKEW_MS: Final = 0
"""The start of the span is approximate, so a difference between clocks needs no allowance."""

Step = Literal["Reading", "Looking up customers", "Comparing"]


class Wanted(NamedTuple):
    """What is read: the newest `last` records, or those since `since_ms` (unix milliseconds).

    `types` are those that are compared; empty: all. Webhooks of other types are decided all the same, since they too
    change what is known of customers.
    """

    last: int | None = None
    since_ms: int | None = None
    types: Collection[str] = frozenset()


class Previewed(NamedTuple):
    """The result: what was found, what both sides began with, and how often they began anew to bound the memory."""

    report: Report
    past: Past | None
    begun_anew: int


class Progress(Protocol):
    """Shows the progress of each step."""

    def __call__(self, step: Step, /) -> AbstractContextManager[Callable[[int, int], None]]:
        """A context for the step; it gives a function that is called with how many records of how many are done."""


async def preview(
    settings: Settings, current: Policy, candidate: Policy, wanted: Wanted, *, progress: Progress, past: bool = True
) -> Previewed:
    """What `candidate` would change; nothing is committed, joined or written.

    With `past` and a state, both sides begin with what was known before the span (`past_of`), else with nothing.

    Raises:
        TopicError: a topic does not exist, or this user may not read it.
        BrokerUnreachableError: no broker answered.
    """
    async with open_topic_reader(settings, settings.webhooks_topic, TopicReader) as reader:
        if wanted.last is not None:
            spans = newest(reader.spans, wanted.last)
        else:
            spans = await reader.since(wanted.since_ms, SKEW_MS)
        known = Past() if settings.state else None
        if past and known is not None:
            footprint = Footprint(current)
            async for record in _records(reader, spans, progress, "Reading"):
                if not is_echo(record, spans):
                    footprint.add(record)
            with progress("Looking up customers") as told:
                known = await past_of(settings, footprint, told)
        both, report = Both(current, candidate, state=None if known is None else known.store), Report()
        async for record in _records(reader, spans, progress, "Comparing"):
            report.read += 1
            if is_echo(record, spans):
                report.echoes += 1
                continue
            decision, ours, theirs = both.decide(record)
            if wanted.types and decision.type not in wanted.types:
                continue
            report.add(record, decision, differences(ours, theirs))
    return Previewed(report, known, both.begun_anew)


async def _records(
    reader: TopicReader, spans: Mapping[int, Span], progress: Progress, step: Step
) -> AsyncGenerator[Record, None]:
    done, total = 0, sum(span.length for span in spans.values())
    with progress(step) as told:
        async with aclosing(reader.records(spans)) as records:
            async for record in records:
                yield record
                done += 1
                told(done, total)
