"""Which part of the topic is read."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.kafka.cluster.topic_reader import Span
from pipeline.preview.spans import newest

SPANS = st.dictionaries(
    st.integers(0, 8),
    st.builds(lambda start, length: Span(start, start + length), st.integers(0, 99), st.integers(0, 99)),
)


def test_each_partition_has_its_part() -> None:
    """What a short one lacks comes from the others."""
    spans = {0: Span(10, 110), 1: Span(0, 2), 2: Span(5, 5), 3: Span(0, 100)}
    assert newest(spans, 12) == {0: Span(105, 110), 1: Span(0, 2), 2: Span(5, 5), 3: Span(95, 100)}


@given(SPANS, st.integers(1, 500))
def test_as_many_as_were_asked_for(spans: dict[int, Span], count: int) -> None:
    """Or all that there are; the newest of each partition, and no partition gives two more than one that has more."""
    found = newest(spans, count)
    assert sum(span.length for span in found.values()) == min(count, sum(span.length for span in spans.values()))
    assert all(found[number].end == span.end and found[number].start >= span.start for number, span in spans.items())
    whole = [found[number].length for number, span in spans.items() if found[number].length < span.length]
    assert not whole or max(one.length for one in found.values()) - min(whole) <= 1
