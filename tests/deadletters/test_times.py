"""Times as people type them."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.deadletters.times import moment_ms, written
from pipeline.errors import InputError

NOW_MS = 1_774_792_800_000  # 2026-03-29T14:00:00Z


@pytest.mark.parametrize(
    ("text", "iso"),
    [
        ("90s", "2026-03-29T13:58:30.000Z"),
        ("15m", "2026-03-29T13:45:00.000Z"),
        ("2h", "2026-03-29T12:00:00.000Z"),
        ("1.5h", "2026-03-29T12:30:00.000Z"),
        (" 3D ", "2026-03-26T14:00:00.000Z"),
        ("1w", "2026-03-22T14:00:00.000Z"),
        ("2026-03-28", "2026-03-28T00:00:00.000Z"),
        ("2026-03-28T10:15", "2026-03-28T10:15:00.000Z"),
        ("2026-03-28 10:15:30", "2026-03-28T10:15:30.000Z"),
        ("2026-03-28T10:15:30.250Z", "2026-03-28T10:15:30.250Z"),
        ("2026-03-28T10:15:30+02:00", "2026-03-28T08:15:30.000Z"),
    ],
)
def test_forms(text: str, iso: str) -> None:
    """A span counts back from now; ISO 8601 without an offset is UTC, a date alone its midnight."""
    assert written(moment_ms(text, NOW_MS)) == iso


@pytest.mark.parametrize(
    "text", ["", "yesterday", "2", "h", "-2h", "2y", "2h ago", "2026-13-01", "1969-01-01", "60000d"]
)
def test_no_time(text: str) -> None:
    """Anything else, and what lies before all dead letters, is refused by name."""
    with pytest.raises(InputError, match=r"(is no time: give 30m|lies before 1970)"):
        moment_ms(text, NOW_MS)


@example(107_852_994_960_411)
@given(st.integers(0, 253_402_300_799_000))
def test_what_is_shown_can_be_typed(at_ms: int) -> None:
    """A time copied from the list means the same millisecond."""
    assert moment_ms(written(at_ms), NOW_MS) == at_ms


@given(st.integers(0, 10**19))
def test_any_number_can_be_shown(at_ms: int) -> None:
    """A header beyond the calendar is shown as the number that it is."""
    assert written(at_ms)
