"""Records are shown a slice before they come, and come in their order."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from pipeline.transform.read_ahead import FIRST, SLICE, readings
from pipeline.transform.webhook import Reading, Unusable
from tests.records import Consumed


def records(count: int) -> list[Consumed]:
    """As many records, of which each says which one it is."""
    return [Consumed(b"no JSON", (("webhook-id", b"%d" % number),)) for number in range(count)]


def number(reading: Reading) -> int:
    """Which one it is."""
    assert isinstance(reading, Unusable)
    return int(reading.webhook_id)


@pytest.mark.parametrize("count", [0, 1, FIRST, FIRST + 1, FIRST + SLICE, FIRST + 2 * SLICE + 5])
def test_every_record_comes_once_in_its_order(count: int) -> None:
    """With its own reading, whoever is shown them."""
    given = records(count)
    for show in (None, lambda _: None):
        found = list(readings(given, show))
        assert [record for record, _ in found] == given
        assert [number(reading) for _, reading in found] == list(range(count))


def test_a_slice_is_shown_before_the_one_ahead_of_it_comes() -> None:
    """So that there is time for it; the first records are not shown, nor is anything twice."""
    shown: list[int] = []

    def show(slice_: Sequence[Reading]) -> None:
        shown.extend(map(number, slice_))

    total = FIRST + 2 * SLICE + 5
    for at, _ in enumerate(readings(records(total), show)):
        until = FIRST + SLICE if at < FIRST else FIRST + 2 * SLICE if at < FIRST + SLICE else total
        assert shown == list(range(FIRST, until))


def test_a_short_chunk_is_shown_to_nobody() -> None:
    """At a low rate a webhook waits for no thread."""
    shown: list[object] = []
    assert len(list(readings(records(FIRST), shown.append))) == FIRST
    assert shown == []
