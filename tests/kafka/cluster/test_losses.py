"""What retention took is written down once, however many workers meet it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.kafka.cluster.losses import ACKNOWLEDGED, KEPT_MS, Loss, added, ledger_of, read_loss

NOW_MS = 1_800_000_000_000


def test_a_loss_survives_being_written_down() -> None:
    """What is written beside the offset is read as it was."""
    loss = Loss(120, 20, NOW_MS)
    assert read_loss(loss.stop, loss.text) == loss
    assert read_loss(120, ACKNOWLEDGED) == Loss(120)
    assert Loss(120).text == ACKNOWLEDGED
    assert ledger_of("g") == "g.losses"


@pytest.mark.parametrize(
    "text", ["no json", "[]", "7", '{"lost":"x","at":1}', '{"lost":true,"at":1}', '{"lost":-1,"at":1}']
)
def test_a_text_of_somebody_else_is_no_loss(text: str) -> None:
    """It claims nothing."""
    assert read_loss(5, text) == Loss(5)


def test_a_loss_is_shown_for_a_day() -> None:
    """And not at all once it is acknowledged."""
    assert Loss(9, 4, NOW_MS).is_shown(NOW_MS + KEPT_MS - 1)
    assert not Loss(9, 4, NOW_MS).is_shown(NOW_MS + KEPT_MS)
    assert not Loss(9).is_shown(NOW_MS)


def test_an_older_loss_is_not_added_to() -> None:
    """Nor is one that was acknowledged: only what is new is told."""
    assert added(Loss(10, 5, NOW_MS), 20, 24, NOW_MS + KEPT_MS) == Loss(24, 4, NOW_MS + KEPT_MS)
    assert added(Loss(10), 20, 24, NOW_MS) == Loss(24, 4, NOW_MS)


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 20), st.integers(1, 3)), max_size=12))
def test_each_lost_record_is_counted_once(gaps: list[tuple[int, int, int]]) -> None:
    """A gap may be met by several workers one after the other, and from any committed offset in between."""
    known: Loss | None = None
    lost: set[int] = set()
    floor = 0
    for first, length, times in gaps:
        stop = max(first, floor) + length
        for _ in range(times):
            fresh = added(known, first, stop, NOW_MS)
            known = fresh or known
        lost |= set(range(max(first, floor), stop))
        floor = stop
    assert (known.records if known else 0) == len(lost)
