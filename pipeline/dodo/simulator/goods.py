"""What the shop sells, and what it charges in each currency."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any, Final

DAY_US: Final = 86_400_000_000
INTERVAL_DAYS: Final = {"Day": 1, "Month": 30, "Year": 365}
"""Months of 30 days: the shop needs periods, not a calendar."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A subscription product; prices in cents of a US dollar."""

    product_id: str
    cents: int
    interval: str

    @property
    def period_us(self) -> int:
        """Length of one billing period, microseconds."""
        return INTERVAL_DAYS[self.interval] * DAY_US


STARTER: Final = Plan("pdt_0NSimulatorStarter01", 900, "Month")
PRO: Final = Plan("pdt_0NSimulatorPro000001", 2900, "Month")
TEAM: Final = Plan("pdt_0NSimulatorTeam00001", 29900, "Year")
PASS: Final = Plan("pdt_0NSimulatorDayPass01", 300, "Day")
MONTHLY: Final = (STARTER, PRO)
LASTING: Final = (STARTER, PRO, PRO, TEAM)

ITEMS: Final = (
    ("pdt_0NSimulatorEbook0001", 1900),
    ("pdt_0NSimulatorTheme0001", 4900),
    ("pdt_0NSimulatorCourse001", 19900),
)

MINOR_PER_CENT: Final = {
    "USD": 1.0,
    "EUR": 0.92,
    "GBP": 0.79,
    "KRW": 13.5,
    "JPY": 1.5,
    "INR": 83.0,
    "KWD": 3.07,
    "BRL": 5.4,
}
"""Minor units of a currency for one US cent: a yen has no smaller unit, a dinar has a thousand."""

TAX_PERCENT: Final = {"USD": 8, "EUR": 19, "GBP": 20, "KRW": 10, "JPY": 10, "INR": 18, "KWD": 0, "BRL": 17}

_NO_CARD: Final[dict[str, Any]] = {
    "card_exp_month": None,
    "card_exp_year": None,
    "card_holder_name": None,
    "card_issuing_country": None,
    "card_last_four": None,
    "card_network": None,
    "card_type": None,
    "three_ds_flow": None,
    "three_ds_status": None,
    "three_ds_version": None,
}
CARDS: Final[tuple[dict[str, Any], ...]] = (
    {"card_network": "visa", "card_last_four": "4242"},
    {"card_network": "mastercard", "card_last_four": "4444", "card_type": "debit", "payment_method_type": "debit"},
    {"card_network": "VISA", "card_last_four": "1111", "card_type": "CREDIT"},
    {**_NO_CARD, "payment_method": "wallet", "payment_method_type": "apple_pay"},
)
LOCAL_METHODS: Final[dict[str, dict[str, Any]]] = {
    "KRW": {**_NO_CARD, "payment_method": "wallet", "payment_method_type": "kakao_pay"},
    "INR": {**_NO_CARD, "payment_method": "upi", "payment_method_type": "upi_collect"},
    "KWD": {**_NO_CARD, "payment_method": "bank_redirect", "payment_method_type": "knet"},
}
UNSETTLED: Final[dict[str, Any]] = {
    **_NO_CARD,
    "payment_method": None,
    "payment_method_id": None,
    "payment_method_type": None,
    "tax": None,
    "settlement_tax": None,
}
"""A payment that never settled has neither method nor tax (seen in production)."""


def minor(cents: int, currency: str) -> int:
    """A price in the currency's smallest unit."""
    return round(cents * MINOR_PER_CENT[currency])


def tax_in(total: int, currency: str) -> int:
    """The tax that a total contains."""
    percent = TAX_PERCENT[currency]
    return total * percent // (100 + percent)


def with_tax(net: int, currency: str) -> int:
    """A net price with its tax."""
    return net + net * TAX_PERCENT[currency] // 100


def settled(total: int, currency: str) -> int:
    """The same amount in US cents, in which the shop is paid."""
    return round(total / MINOR_PER_CENT[currency])


def method(rng: Random, currency: str) -> dict[str, Any]:
    """How a customer of that currency pays."""
    local = LOCAL_METHODS.get(currency)
    return local if local is not None and rng.random() < 0.5 else rng.choice(CARDS)  # noqa: PLR2004 - half of them
