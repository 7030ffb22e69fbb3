"""Chooses which part of the topic is read."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.kafka.cluster.topic_reader import Span


def newest(spans: Mapping[int, Span], count: int) -> dict[int, Span]:
    """The newest `count` offsets: evenly from all partitions, more from others where one holds fewer than its part.

    Customers are spread evenly over partitions, so these are nearly the newest records; to find exactly those would
    take reading the whole topic.
    """
    left = min(count, sum(span.length for span in spans.values()))
    found: dict[int, Span] = {}
    by_length = sorted(spans, key=lambda number: (spans[number].length, number))
    for index, number in enumerate(by_length):
        span = spans[number]
        part = min(span.length, -(-left // (len(by_length) - index)))
        found[number] = Span(span.end - part, span.end)
        left -= part
    return dict(sorted(found.items()))
