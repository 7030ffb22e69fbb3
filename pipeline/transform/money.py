"""Amounts in minor units, written as exact decimals.

Exponents come from ISO 4217 (the `iso4217` package carries the SIX table), never from display habits: ICU shows COP or
IDR without decimals although their minor unit has two. No amount goes through floating-point arithmetic: the decimal
text is cut from the integer's digits, and the number is the nearest double of that text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final

from iso4217 import Currency

WITHDRAWN: Final[Mapping[str, int]] = MappingProxyType({"ANG": 2, "BGN": 2, "HRK": 2, "SLL": 2})
"""Codes that left ISO 4217 and are still in the vendor's currency list (dodopayments `types/currency.py`), with the
minor unit that they had when they were current."""

ISO_EXPONENTS: Final[Mapping[str, int]] = MappingProxyType(
    {**WITHDRAWN, **{currency.code: currency.exponent for currency in Currency if currency.exponent is not None}}
)
"""Decimals of each currency's minor unit. Metals and test codes have none in the standard and are not here."""

MAX_MINOR: Final = 2**53 - 1
"""Largest integer that every JSON reader keeps exact (RFC 8259 §6). Beyond it an amount is a fault, not money."""

MAX_EXACT_DIGITS: Final = 15
"""A decimal text of up to 15 digits survives the way through a double and back (IEEE 754 `DBL_DIG`)."""

MAX_UNITS: Final = 10**30
"""A quantity beyond this is a fault; also keeps a float's text short."""

ALPHABETIC: Final = re.compile(r"[A-Z]{3}")
"""The form of an ISO 4217 code."""

_WHOLE = re.compile(r"-?[0-9]{1,16}")
_DECIMAL = re.compile(r"[+-]?(?:[0-9]{1,30}(?:\.[0-9]{0,20})?|\.[0-9]{1,20})")


Number = int | float
"""A number as it is sent. Both types are named, since mypyc makes 100.0 of a whole number that is typed `float`."""


@dataclass(slots=True, init=False)
class Amount:
    """An amount in its three forms; `text` and `value` are None when the currency's decimals are unknown.

    `value` is also None for amounts of more than 15 digits, which a double would round.
    """

    minor: int
    text: str | None
    value: Number | None

    def __init__(self, minor: int, text: str | None, value: Number | None) -> None:
        self.minor = minor
        self.text = text
        self.value = value


def amount_of(minor: int, exponent: int | None) -> Amount:
    """`minor` units as exact decimals: `(4900, 2)` is `"49.00"`, `(4900, 0)` is `"4900"`, `(4900, 3)` is `"4.900"`."""
    if exponent is None:
        return Amount(minor, None, None)
    if exponent == 0:
        return Amount(minor, str(minor), minor)
    digits = str(abs(minor)).zfill(exponent + 1)
    text = f"{'-' if minor < 0 else ''}{digits[:-exponent]}.{digits[-exponent:]}"
    return Amount(minor, text, float(text) if len(digits) <= MAX_EXACT_DIGITS else None)


def minor_of(value: Any) -> int | None:
    """An amount as sent, as an integer of minor units; None when it is no whole, exact number of them.

    Numbers were seen where the model has strings and the reverse, so both are read. `true` is not 1, and "46.65" is
    not 46 of anything: which unit it means is not known.
    """
    if type(value) is int:
        return value if -MAX_MINOR <= value <= MAX_MINOR else None
    if type(value) is float:
        return int(value) if value.is_integer() and abs(value) <= MAX_MINOR else None
    if type(value) is str:
        text = value.strip()
        if _WHOLE.fullmatch(text):
            return minor_of(int(text))
    return None


def units_of(value: Any) -> tuple[str, Number | None] | None:
    """A quantity that is no money (credits): its decimal text and its number, None when it is neither.

    The text keeps the digits as sent; the number is None where a double would round it.
    """
    if type(value) is int and abs(value) <= MAX_UNITS:
        text = str(value)
    elif type(value) is float and abs(value) <= MAX_UNITS:
        text = format(Decimal(repr(value)), "f").removesuffix(".0")
    elif type(value) is str and _DECIMAL.fullmatch(value.strip()):
        text = value.strip()
    else:
        return None
    if sum(map(str.isdigit, text)) > MAX_EXACT_DIGITS:
        return text, None
    number = float(text)
    whole: Number = int(number) if number.is_integer() else number
    return text, whole


def currency_code(value: Any) -> str | None:
    """A currency as its upper-case code, None when there is none; whether it is known is the exponents' matter."""
    if type(value) is not str:
        return None
    return value.strip().upper() or None
