"""When a stage counts as moving, so that a stop is judged by what it does and by nothing before it."""

from __future__ import annotations

import pytest

from tests.chaos.season.act import moves
from tests.chaos.season.record import Place, Sample

IDLE, BUSY, STILL = (Place(5, 5), Place(5, 5)), (Place(5, 9), Place(7, 9)), (Place(5, 9), Place(5, 9))
DRAINED, BEGUN, BACK = (Place(5, 9), Place(9, 9)), (Place(5, 5), Place(5, 8)), (Place(5, 9), Place(3, 9))


@pytest.mark.parametrize(
    ("partitions", "moving"),
    [
        ([IDLE, BUSY, DRAINED], True),
        ([BUSY], True),
        ([IDLE, BUSY, STILL], False),
        ([BEGUN], False),
        ([BACK], False),
        ([], False),
    ],
    ids=["idle, busy and drained", "busy", "one stands still", "work that nobody begins", "gone back", "unknown"],
)
def test_a_stage_moves_when_each_partition_does(partitions: list[tuple[Place, Place]], moving: bool) -> None:
    """Each has no work, or its offset has risen; of what nobody knows nothing is said."""
    before = Sample(1.0, "sink", {number: then for number, (then, _) in enumerate(partitions)})
    after = Sample(3.0, "sink", {number: now for number, (_, now) in enumerate(partitions)})
    assert moves(before, after) is moving
    assert moves(before, after._replace(places={})) is False
