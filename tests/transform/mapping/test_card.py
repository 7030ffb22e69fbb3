"""The card on a profile: its last second, and nothing of a card that was there before."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from pipeline.transform.mapping.card import fill_card
from pipeline.transform.profile import Card


def filled(month: str | None, year: str | None) -> dict[str, Any]:
    """The attributes of a card with this expiry."""
    into: dict[str, Any] = {}
    fill_card(into, Card("VISA", "4242", month, year))
    return into


@pytest.mark.parametrize(
    ("month", "year", "last"),
    [
        ("2", "2028", datetime(2028, 2, 29, 23, 59, 59, tzinfo=UTC)),
        ("12", "27", datetime(2027, 12, 31, 23, 59, 59, tzinfo=UTC)),
        ("04", "2030", datetime(2030, 4, 30, 23, 59, 59, tzinfo=UTC)),
    ],
)
def test_it_expires_with_its_month(month: str, year: str, last: datetime) -> None:
    """The last second of the month in UTC, of years with two digits as well, in both forms."""
    into = filled(month, year)
    assert into["card_expires_at_unix"] == int(last.timestamp())
    assert datetime.fromisoformat(into["card_expires_at"]) == last


@pytest.mark.parametrize(
    ("month", "year"), [("0", "2028"), ("13", "2028"), (None, "2028"), ("2", None), ("2", "1999"), ("2", "2100")]
)
def test_an_expiry_that_cannot_be(month: str | None, year: str | None) -> None:
    """Null, which removes that of another card; what was sent stays beside it."""
    into = filled(month, year)
    assert (into["card_expires_at"], into["card_expires_at_unix"]) == (None, None)
    assert (into["card_exp_month"], into["card_exp_year"]) == (month, year)
