"""The card on a profile, where PIPELINE_FORWARD_CARD_HINTS lets it go on."""

from __future__ import annotations

from calendar import monthrange
from datetime import UTC, datetime

from pipeline.transform.fields import whole
from pipeline.transform.mapping.case import Attributes
from pipeline.transform.profile import Card
from pipeline.transform.timestamps import iso

_CENTURY = 100


def fill_card(into: Attributes, card: Card) -> None:
    """Write the card that pays into the profile's attributes; what it does not have is null, to remove another one's.

    `card_expires_at` is the last second of its month in UTC, what a campaign on a date can start from.
    """
    into["card_network"], into["card_last_four"] = card.network, card.last_four
    into["card_exp_month"], into["card_exp_year"] = card.exp_month, card.exp_year
    expires_s = _expires_s(card)
    into["card_expires_at"] = None if expires_s is None else iso(expires_s * 1000)
    into["card_expires_at_unix"] = expires_s


def _expires_s(card: Card) -> int | None:
    month, year = whole(card.exp_month), whole(card.exp_year)
    if month is None or year is None or not 1 <= month <= 12:  # noqa: PLR2004 - months
        return None
    if 0 <= year < _CENTURY:
        year += 2000
    if not 2000 <= year < 2100:  # noqa: PLR2004 - no card is valid beyond
        return None
    _, last_day = monthrange(year, month)
    return int(datetime(year, month, last_day, 23, 59, 59, tzinfo=UTC).timestamp())
