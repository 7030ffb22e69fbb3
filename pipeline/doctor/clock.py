"""Compares this machine's clock with the brokers', by the times of their newest records; nothing is written for it.

A topic with LogAppendTime has the leader's time on every record. Its newest record cannot be from the future, so if its
time is ahead of this machine's, the machine's clock is behind. Whether the clock is ahead can be seen only while
records arrive.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import aclosing
from typing import Final

from pipeline.doctor.findings import Finding
from pipeline.errors import TopicError
from pipeline.kafka.cluster.topic_reader import Span, TopicReader, open_topic_reader
from pipeline.kafka.records import LOG_APPEND_TIME, time_ms
from pipeline.settings import Settings

TOLERANCE_S: Final = 30.0
"""More than clocks with NTP ever differ; the same as in the stages (watch/clock)."""

NTP: Final = "let NTP set it: signatures and waiting times are judged by it"


async def clock(settings: Settings, *, now_s: Callable[[], float] = time.time) -> Finding:
    """The finding from the newest records of the webhooks and the operations."""
    times, refused = [], None
    for topic in (settings.webhooks_topic, settings.operations_topic):
        try:
            times += await _last(settings, topic)
        except TopicError as error:
            refused = error
    if refused is not None and not times:
        return Finding("brokers", "clock", "unknown", str(refused), "allow READ on the topic")
    return judged(max(times, default=None), now_s())


def judged(newest_ms: int | None, now_s: float) -> Finding:
    """The finding from the time that the brokers gave their newest record; None: there is no record."""
    if newest_ms is None:
        text = "no record that the brokers dated (LogAppendTime) to compare this machine's clock with"
        return Finding("brokers", "clock", "unknown", text)
    ahead_s = newest_ms / 1000 - now_s
    if ahead_s > TOLERANCE_S:
        text = f"this machine's clock is at least {ahead_s:,.0f} s behind the brokers'"
        return Finding("brokers", "clock", "fault", text, NTP)
    if ahead_s < -TOLERANCE_S:
        text = (
            f"it is not behind the brokers'; the newest record is {-ahead_s:,.0f} s old, so it may be ahead by as much"
        )
        return Finding("brokers", "clock", "unknown", text)
    return Finding(
        "brokers", "clock", "ok", f"this machine's clock agrees with the brokers' within {TOLERANCE_S:.0f} s"
    )


async def _last(settings: Settings, topic: str) -> list[int]:
    """The time of the last record of each partition, unix milliseconds, where a broker gave it."""
    async with open_topic_reader(settings, topic, TopicReader) as reader:
        last = {number: Span(span.end - 1, span.end) for number, span in reader.spans.items() if span.length}
        async with aclosing(reader.records(last)) as records:
            found = [record async for record in records if getattr(record, "timestamp_type", None) == LOG_APPEND_TIME]
    return [at_ms for record in found if (at_ms := time_ms(record)) is not None]
