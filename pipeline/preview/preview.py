"""Reading webhooks from their topic and deciding each twice."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import aclosing
from typing import Final, NamedTuple

from pipeline.kafka.cluster.topic_reader import TopicReader, open_topic_reader
from pipeline.preview.report import Report
from pipeline.preview.spans import newest
from pipeline.preview.worlds import Both, is_echo
from pipeline.settings import Settings
from pipeline.transform.policy import Policy
from pipeline.transform.shaping.differences import differences

SKEW_MS: Final = 0
"""A look at what came since about then: nobody misses the first seconds of it."""

Told = Callable[[int, int], None]
"""How many offsets are done, of how many."""


class Wanted(NamedTuple):
    """What is read: the newest `last` records, or those since `since_ms` (unix milliseconds).

    `types` are those that are compared, all where there is none; the others are decided all the same, since what
    customers are known for comes of them as well.
    """

    last: int | None = None
    since_ms: int | None = None
    types: Collection[str] = frozenset()


class Previewed(NamedTuple):
    """What was found, and how often both states began anew because of memory."""

    report: Report
    begun_anew: int


async def preview(settings: Settings, current: Policy, candidate: Policy, wanted: Wanted, *, told: Told) -> Previewed:
    """What `candidate` would change; nothing is committed, joined or written.

    Raises:
        TopicError: the topic does not exist, or this user may not read it.
        BrokerUnreachableError: no broker answered.
    """
    both, report = Both(current, candidate, state=settings.state), Report()
    async with open_topic_reader(settings, settings.webhooks_topic, TopicReader) as reader:
        if wanted.last is not None:
            spans = newest(reader.spans, wanted.last)
        else:
            spans = await reader.since(wanted.since_ms, SKEW_MS)
        total = sum(span.length for span in spans.values())
        async with aclosing(reader.records(spans)) as records:
            async for record in records:
                report.read += 1
                told(report.read, total)
                if is_echo(record, spans):
                    report.echoes += 1
                    continue
                decision, ours, theirs = both.decide(record)
                if wanted.types and decision.type not in wanted.types:
                    continue
                report.add(record, decision, differences(ours, theirs))
    return Previewed(report, both.begun_anew)
