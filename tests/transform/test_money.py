"""Amounts: exact by construction, in the currency's own decimals."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.transform.money import (
    ISO_EXPONENTS,
    MAX_MINOR,
    Amount,
    amount_of,
    currency_code,
    minor_of,
    units_of,
)

DATA = Path(__file__).parents[1] / "data" / "vendor_currencies.json"
VENDOR_CURRENCIES = [
    (code, int(decimals))
    for decimals, codes in orjson.loads(DATA.read_bytes())["decimals"].items()
    for code in codes.split()
]


@pytest.mark.parametrize(("code", "decimals"), VENDOR_CURRENCIES)
def test_every_currency_of_the_vendor_has_its_iso_4217_decimals(code: str, decimals: int) -> None:
    """No currency that Dodo can charge is unknown, and display habits (COP or IDR without decimals) play no part."""
    assert ISO_EXPONENTS[code] == decimals


@pytest.mark.parametrize(
    ("minor", "exponent", "text", "value"),
    [
        (4900, 2, "49.00", 49.0),
        (4900, 0, "4900", 4900),
        (4900, 3, "4.900", 4.9),
        (12345, 3, "12.345", 12.345),
        (5, 2, "0.05", 0.05),
        (5, 3, "0.005", 0.005),
        (0, 2, "0.00", 0.0),
        (0, 0, "0", 0),
        (-5, 2, "-0.05", -0.05),
        (-4900, 2, "-49.00", -49.0),
        (10, 4, "0.0010", 0.001),
        (123456789012345, 2, "1234567890123.45", 1234567890123.45),
        (1234567890123456, 2, "12345678901234.56", None),
    ],
)
def test_minor_units_become_the_currencys_decimals(minor: int, exponent: int, text: str, value: float | None) -> None:
    """The same integer is 49.00 dollars, 4900 yen and 4.900 dinars; beyond 15 digits only the text is exact."""
    assert amount_of(minor, exponent) == Amount(minor, text, value)


def test_without_decimals_only_the_minor_units_are_known() -> None:
    """An unknown currency gets no guess."""
    assert amount_of(4900, None) == Amount(4900, None, None)


@given(st.integers(-MAX_MINOR, MAX_MINOR), st.integers(0, 4))
def test_text_is_exact(minor: int, exponent: int) -> None:
    """The text times the unit is the integer again, digit for digit, and always shows the currency's decimals."""
    text = amount_of(minor, exponent).text
    assert text is not None
    assert Decimal(text).scaleb(exponent) == minor
    assert len(text.partition(".")[2]) == exponent


@given(st.integers(-MAX_MINOR, MAX_MINOR), st.integers(0, 4))
def test_number_is_the_text_for_every_json_reader(minor: int, exponent: int) -> None:
    """Serialised as JSON and read as a decimal, the number is the text's; where it could not be it is left out."""
    amount = amount_of(minor, exponent)
    if amount.value is None:
        assert abs(minor) > 10**15 - 1
    else:
        assert Decimal(orjson.dumps(amount.value).decode()) == Decimal(amount.text or "")


@pytest.mark.parametrize(
    ("sent", "minor"),
    [
        (4665, 4665),
        (-500, -500),
        (0, 0),
        ("4665", 4665),
        (" 4665 ", 4665),
        ("-5", -5),
        (4665.0, 4665),
        (MAX_MINOR, MAX_MINOR),
        (MAX_MINOR + 1, None),
        (1.2345678901234568e29, None),
        (46.65, None),
        ("46.65", None),
        ("4,665", None),
        ("", None),
        ("\u0664\u0666", None),  # digits of another script are no amount that anybody meant
        (True, None),
        (None, None),
        ([4665], None),
        ({"amount": 4665}, None),
        (float("nan"), None),
        (float("inf"), None),
    ],
)
def test_only_whole_exact_numbers_are_minor_units(sent: object, minor: int | None) -> None:
    """A text of digits counts, `true`, fractions and anything beyond exact integers do not."""
    assert minor_of(sent) == minor


@pytest.mark.parametrize(
    ("sent", "units"),
    [
        ("100", ("100", 100)),
        (100, ("100", 100)),
        ("0.25", ("0.25", 0.25)),
        (0.25, ("0.25", 0.25)),
        (1075.0, ("1075", 1075)),
        ("1.10", ("1.10", 1.1)),
        (1e-7, ("0.0000001", 1e-7)),
        ("-3", ("-3", -3)),
        ("12345678901234567890", ("12345678901234567890", None)),
        ("NaN", None),
        ("1e5", None),
        ("", None),
        (True, None),
        (None, None),
        (["1"], None),
        (float("nan"), None),
        (float("inf"), None),
        (10**40, None),
    ],
)
def test_credits_keep_their_digits(sent: object, units: tuple[str, float | None] | None) -> None:
    """Credit figures come as texts or numbers and keep the digits they were sent with."""
    assert units_of(sent) == units


@given(st.decimals(allow_nan=False, allow_infinity=False, places=10, min_value=-(10**9), max_value=10**9))
def test_credit_text_is_what_was_sent(quantity: Decimal) -> None:
    """Ten decimals, the most that the vendor documents, pass unchanged."""
    sent = format(quantity, "f")
    found = units_of(sent)
    assert found is not None
    assert found[0] == sent


@pytest.mark.parametrize(
    ("sent", "code"), [("USD", "USD"), (" usd ", "USD"), ("", None), ("  ", None), (None, None), (840, None)]
)
def test_currency_codes_are_upper_case(sent: object, code: str | None) -> None:
    """A currency is never invented; its spelling alone is tidied."""
    assert currency_code(sent) == code
