"""Tolerant reading of a body's fields: null and absent alike, numbers for texts and the reverse.

Strict validation against the vendor's models refuses genuine deliveries (github.com/dodopayments/dodo-adapters,
issue 128 and pull request 132), so each reader takes what means the same and gives None for the rest.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final

from pipeline.transform.addresses import address_of
from pipeline.transform.characters import is_plain, trimmed
from pipeline.transform.money import MAX_MINOR

E164: Final = re.compile(r"\+[1-9][0-9]{6,14}")
"""ITU-T E.164: a plus sign and at most 15 digits; the shortest numbers in use have seven."""

_BREAKS = re.compile("[\t-\r\x1c-\x1f\x85]+")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_COUNTRY = re.compile(r"[A-Za-z]{2}")
_DIGITS = re.compile(r"-?[0-9]{1,16}")
_TRUE: Final = frozenset({"true", "1"})
_FALSE: Final = frozenset({"false", "0"})


def text(value: Any) -> str | None:
    """Text without surrounding space; a whole number becomes its digits. Empty, `true` and containers are None."""
    if type(value) is str:
        return value.strip() or None
    if value is None:
        return None
    if type(value) is int:
        return str(value)
    if type(value) is float and value.is_integer() and abs(value) <= MAX_MINOR:
        return str(int(value))
    return None


def whole(value: Any) -> int | None:
    """A whole number, also from its digits as text; `true` is none."""
    if type(value) is int:
        return value if -MAX_MINOR <= value <= MAX_MINOR else None
    if value is None:
        return None
    if type(value) is float:
        return int(value) if value.is_integer() and abs(value) <= MAX_MINOR else None
    if type(value) is str and _DIGITS.fullmatch(value.strip()):
        return whole(int(value))
    return None


def flag(value: Any) -> bool | None:
    """A truth value, also from `"true"`, `"false"`, 1 and 0; None is not false."""
    if value is None or value is True or value is False:
        return value
    word = (text(value) or "").lower()
    return True if word in _TRUE else False if word in _FALSE else None


def members(value: Any) -> dict[str, Any]:
    """An object's members; whatever is no object has none."""
    return value if type(value) is dict else {}


def elements(value: Any) -> list[Any]:
    """An array's elements; whatever is no array has none."""
    return value if type(value) is list else []


def email(value: Any) -> str | None:
    """An address, its case kept; None when Customer.io could not take it for one (`addresses`)."""
    return address_of(value)


def person_name(value: Any) -> str | None:
    """A person's name: line breaks are spaces, other control characters go, and what nobody sees at its ends."""
    if type(value) is not str:
        return text(value)
    if is_plain(value):
        return value.strip() or None
    return _name(value)


@lru_cache(maxsize=1024)
def _name(value: str) -> str | None:
    if _CONTROL.search(value):
        value = _CONTROL.sub("", _BREAKS.sub(" ", value))
    return trimmed(value) or None


def phone(value: Any) -> str | None:
    """A telephone number that is E.164 as it stands; others are not repaired, since Customer.io identifies by it."""
    number = text(value)
    return number if number is not None and E164.fullmatch(number) else None


def country(value: Any) -> str | None:
    """An ISO 3166-1 alpha-2 code in upper case."""
    return _country(value) if type(value) is str else None


@lru_cache(maxsize=1024)
def _country(value: str) -> str | None:
    code = value.strip()
    return code.upper() if _COUNTRY.fullmatch(code) else None


def scalar(value: Any) -> str | int | float | bool | None:
    """A value that a metadata pair may have: text, number or truth value."""
    if type(value) is str:
        return value or None
    return value if type(value) in {int, float, bool} else None
