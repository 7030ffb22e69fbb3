"""What a payment was for: its products with their names, or its subscription's product and plan."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeline.transform.mapping.case import Attributes, Case
from pipeline.transform.profile import Subscription


def put_goods(case: Case, into: Attributes, products: Sequence[Sequence[Any]], subscriptions: list[str]) -> None:
    """Write `products` (id, quantity, and name where it is known), `product_name` and, of a single one, `product_id`.

    `product_name` is what a mail prints in one place: the names of all, and there only if all are known. The product of
    a payment for a subscription is the subscription's, which the state knows once a webhook of it has come.

    Args:
        case: the webhook.
        into: the event's attributes.
        products: pairs of id and quantity (None: unknown); only purchases have them.
        subscriptions: ids, of a payment for subscriptions.
    """
    names = case.policy.product_names
    ids: list[str] = []
    if products:
        shown: list[Attributes] = []
        for product_id, quantity in products:
            ids.append(product_id)
            entry: Attributes = {"product_id": product_id}
            if quantity is not None:
                entry["quantity"] = quantity
            if (name := names.get(product_id)) is not None:
                entry["name"] = name
            shown.append(entry)
        into["products"] = shown
    elif case.history is not None and subscriptions:
        plans = [plan for one in subscriptions if (plan := case.history.subscription(one)) is not None]
        found = [plan.product_id for plan in plans if plan.product_id is not None]
        ids = found if len(found) == len(subscriptions) else []
    if len(ids) == 1:
        into.setdefault("product_id", ids[0])
    if not names:
        return
    known = [name for product_id in ids if (name := names.get(product_id)) is not None]
    if known and len(known) == len(ids):
        into.setdefault("product_name", ", ".join(known))


def put_payment_amount(case: Case, into: Attributes, minor: int | None, currency: str | None) -> None:
    """Write what a payment charged, with its own currency: the customer may pay in another one than the plan's."""
    case.money(into, "payment_amount", minor, currency)
    if currency is not None:
        into["payment_currency"] = currency


def put_plan(case: Case, into: Attributes, plan: Subscription) -> None:
    """Write what the state knows of a subscription's plan, under the names that its own events have."""
    put_goods(case, into, [], [plan.subscription_id])
    if plan.currency is not None:
        into["currency"] = plan.currency
    case.money(into, "amount", plan.minor, plan.currency)
    if plan.interval is not None:
        into["frequency"] = plan.interval
    if plan.interval_count is not None:
        into["frequency_count"] = plan.interval_count
