"""Records are shown a slice at a time before they come, and come in their order."""

from __future__ import annotations

import pytest

from pipeline.transform.read_ahead import SLICE, readings
from pipeline.transform.webhook import Reading, Unusable
from tests.records import Consumed


def records(count: int) -> list[Consumed]:
    """As many records, of which each says which one it is."""
    return [Consumed(b"no JSON", (("webhook-id", b"%d" % number),)) for number in range(count)]


def number(reading: Reading) -> int:
    """Which one it is."""
    assert isinstance(reading, Unusable)
    return int(reading.webhook_id)


@pytest.mark.parametrize("count", [0, 1, SLICE, SLICE + 1, 2 * SLICE + 5])
def test_every_record_comes_once_in_its_order(count: int) -> None:
    """With its own reading, whoever is shown them."""
    given = records(count)
    for show in (None, lambda *_: None):
        found = list(readings(given, show))
        assert [record for record, _ in found] == given
        assert [number(reading) for _, reading in found] == list(range(count))


def test_a_slice_is_shown_before_it_comes() -> None:
    """All of it and no more, and nothing twice."""
    shown: list[int] = []
    total = 2 * SLICE + 5
    for at, _ in enumerate(readings(records(total), lambda slice_: shown.extend(map(number, slice_)))):
        assert shown == list(range(min(total, (at // SLICE + 1) * SLICE)))
