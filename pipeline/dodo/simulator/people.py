"""Customers: invented names in several scripts, addresses at example.com, a currency each."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any, Final

NAMES: Final = (
    "Ann Alder",
    "Ben O'Brook",
    "한지우",
    "김서연",
    "山田 花子",
    "佐藤 健",
    "Zoë 🦊 Fuchs",
    "Søren Åkesson",
    "João da Conceição",
    "Łucja Żółć",
    "Nguyễn Văn Minh",
    "فاطمة الحربي",
    "Δημήτρης Παππάς",
    "Ольга Иванова",
    "अनन्या शर्मा",
    "Max Müller-Weiß",
    "👩🏽‍💻 Dev Null",
    "Robert'); DROP TABLE people;--",
    "Chloé <Durand>",
    "D",
)
"""Names that break some programs: apostrophes, other scripts, right-to-left, joined emoji, markup, a single letter."""

COUNTRIES: Final = {
    "USD": ("US", "Springfield", "Oregon", "1 Example Street", "97477"),
    "EUR": ("DE", "Musterstadt", None, "Beispielweg 2", "12345"),
    "GBP": ("GB", "Sampleton", None, "3 Example Road", "AB1 2CD"),
    "KRW": ("KR", "서울", None, "예시로 4", "04524"),
    "JPY": ("JP", None, None, None, "150-0001"),
    "INR": ("IN", "Udaharan", "Karnataka", "5 Example Marg", "560001"),
    "KWD": ("KW", "Mithal", None, None, None),
    "BRL": ("BR", "Exemplo", "SP", "Rua Exemplo 6", "01310-100"),
}

CURRENCIES: Final = ("USD",) * 9 + ("EUR",) * 5 + ("GBP",) * 2 + ("KRW",) * 2 + ("JPY",) * 2 + ("INR", "KWD", "BRL")

CAPITALS_EVERY: Final = 50
"""One customer in so many wrote the address in capitals, as happens."""

PHONE_EVERY: Final = 3
METADATA_EVERY: Final = 4


@dataclass(frozen=True, slots=True)
class Customer:
    """One customer, with the parts of bodies that never change."""

    customer_id: str
    currency: str
    limited: dict[str, Any]
    """The `customer` object of payments, subscriptions, refunds and disputes."""

    billing: dict[str, Any]


def customer(rng: Random, number: int) -> Customer:
    """The shop's customer number `number`."""
    customer_id = f"cus_0N{rng.getrandbits(76):019x}"
    currency = rng.choice(CURRENCIES)
    country, city, state, street, zipcode = COUNTRIES[currency]
    address = f"customer.{number}@example.com"
    return Customer(
        customer_id,
        currency,
        limited={
            "customer_id": customer_id,
            "email": address.upper() if number % CAPITALS_EVERY == 0 else address,
            "metadata": {}
            if number % METADATA_EVERY == 0
            else {"app_user_id": f"u_{number}", "plan_tier": rng.choice(("free", "pro", "team"))},
            "name": rng.choice(NAMES),
            "phone_number": None if number % PHONE_EVERY else f"+1555555{number % 10_000:04d}",
        },
        billing={"city": city, "country": country, "state": state, "street": street, "zipcode": zipcode},
    )
