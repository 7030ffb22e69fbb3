"""What stock Faust commits, by its own function: the reason for half of its losses, without a broker."""

from __future__ import annotations

from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import pytest
from faust.transport.consumer import Consumer
from faust.types import TP
from intervaltree import IntervalTree  # type: ignore[import-untyped]

PARTITION = TP("a", 0)


@pytest.mark.parametrize(
    ("committed", "acknowledged", "gap", "commits"),
    [
        (10, [10, 11], None, 12),
        (10, [12], None, None),
        (None, [5], None, 6),  # 0 to 4 are being worked on
        (10, [11, 12], None, 13),  # 10 is
        (10, [10, 16], (11, 15), 17),  # 15 is, behind offsets that a transaction took
    ],
)
def test_it_commits_over_what_is_not_done(
    committed: int | None, acknowledged: list[int], gap: tuple[int, int] | None, commits: int | None
) -> None:
    """The first record of a group, the head, and the one behind a gap; upstream has mended none of it if this holds."""
    consumer: Any = SimpleNamespace(
        _acked={PARTITION: list(acknowledged)},
        _acked_index={PARTITION: set(acknowledged)},
        _committed_offset={PARTITION: committed},
        _gap=defaultdict(IntervalTree),
    )
    if gap is not None:  # as `_add_gap` notes it: with the record behind
        consumer._gap[PARTITION].addi(gap[0], gap[1] + 1)
    assert Consumer._new_offset(consumer, PARTITION) == commits
