"""Completes list items: finds the customer of a refund, and whether a payment only stored a card.

List items have fewer fields than the objects of webhooks (https://github.com/withcoral/coral/pull/1359). That of a
refund names no customer, but its payment does. That of a payment has no `is_update_payment_method`. By the reference
such payments cover no service period, while charges of a subscription do, so only the payments in doubt are read whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Protocol

from pipeline.dodo.api import Collection

CARD_UPDATE: Final = "is_update_payment_method"
CHARGES: Final = frozenset({"renewal", "plan_change", "on_demand"})
"""Charge types that bill for something. `new` may be the first charge or the storing of a card."""


class Objects(Protocol):
    """The source of single objects (`dodo.api.DodoApi`)."""

    async def payment(self, payment_id: str) -> dict[str, Any] | None:
        """One payment with its customer."""

    async def subscription(self, subscription_id: str) -> dict[str, Any] | None:
        """One subscription with its customer."""


class Payers(Protocol):
    """The customers of payments that were seen (`journal.Journal`)."""

    def payer(self, payment_id: str) -> str | None:
        """The customer's id."""


@dataclass(frozen=True, slots=True)
class Owned:
    """An object and its customer's id; None when it is unknown."""

    data: dict[str, Any]
    customer_id: str | None


async def own(collection: Collection, item: dict[str, Any], api: Objects, payers: Payers) -> Owned:
    """Complete a list item.

    Raises:
        PipelineError: as a request to the API.
    """
    customer_id = customer_of(item)
    match collection:
        case "payments" if customer_id is None or may_be_card_update(item):
            whole = await api.payment(_text(item.get("payment_id")) or "")
            return Owned(item, customer_id) if whole is None else Owned(whole, customer_of(whole) or customer_id)
        case "refunds" if customer_id is None:
            return Owned(item, await _payer(_text(item.get("payment_id")), api, payers))
        case "subscriptions" if customer_id is None:
            whole = await api.subscription(_text(item.get("subscription_id")) or "")
            return Owned(item, None) if whole is None else Owned(whole, customer_of(whole))
    return Owned(item, customer_id)


def customer_of(item: dict[str, Any]) -> str | None:
    """The customer's id that an object names."""
    customer = item.get("customer")
    named = _text(customer.get("customer_id")) if isinstance(customer, dict) else None
    return named or _text(item.get("customer_id"))


def may_be_card_update(payment: dict[str, Any]) -> bool:
    """Whether a succeeded payment may only have stored a card by its list item, and that would change a total."""
    return (
        CARD_UPDATE not in payment
        and payment.get("total_amount") != 0  # a payment of nothing does not count either way
        and bool(payment.get("subscription_id") or payment.get("subscription_ids"))
        and not payment.get("service_periods")
        and payment.get("charge_type") not in CHARGES
    )


async def _payer(payment_id: str | None, api: Objects, payers: Payers) -> str | None:
    if payment_id is None:
        return None
    known = payers.payer(payment_id)
    if known is not None:
        return known
    payment = await api.payment(payment_id)
    return None if payment is None else customer_of(payment)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
