"""Reads a payment's body once, for the rows, the attributes and the facts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pipeline.transform.fields import elements, flag, members, text, whole
from pipeline.transform.money import minor_of


@dataclass(slots=True, init=False)
class Paid:
    """A payment as its body shows it, each None where the body has no usable value.

    Args:
        minor: what was charged, in minor units of its currency.
        method: how.
        is_card_update: whether a card was stored and nothing bought.
        subscriptions: what it is for, none for a purchase.
        cart: id and quantity of what was bought.
    """

    minor: int | None
    method: str | None
    is_card_update: bool
    subscriptions: list[str]
    cart: list[tuple[str, int | None]]

    def __init__(
        self,
        minor: int | None,
        method: str | None,
        is_card_update: bool,
        subscriptions: list[str],
        cart: list[tuple[str, int | None]],
    ) -> None:
        self.minor = minor
        self.method = method
        self.is_card_update = is_card_update
        self.subscriptions = subscriptions
        self.cart = cart


NO_PAYMENT: Final = Paid(None, None, is_card_update=False, subscriptions=[], cart=[])
"""What a body shows that is not about one."""


def paid_of(data: Mapping[str, Any]) -> Paid:
    """What `data`, of a webhook or an object of Dodo's API, shows of a payment."""
    get = data.get
    return Paid(
        minor_of(get("total_amount")),
        text(get("payment_method")),
        flag(get("is_update_payment_method")) is True,
        subscription_ids(data),
        _cart(get("product_cart")),
    )


def subscription_ids(data: Mapping[str, Any]) -> list[str]:
    """The subscriptions that a payment is for, none for a purchase."""
    single = text(data.get("subscription_id"))
    if single is not None:
        return [single]
    several = data.get("subscription_ids")
    if not several:  # as of most purchases
        return []
    return [found for entry in elements(several) if (found := text(entry)) is not None]


def _cart(value: Any) -> list[tuple[str, int | None]]:
    cart = []
    for element in elements(value):
        item = members(element)
        product_id = text(item.get("product_id"))
        if product_id is not None:
            quantity = whole(item.get("quantity"))
            cart.append((product_id, quantity if quantity is not None and quantity >= 0 else None))
    return cart
