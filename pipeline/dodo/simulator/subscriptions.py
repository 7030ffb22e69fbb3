"""One subscription and the states that it passes through."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from pipeline.dodo.simulator import goods
from pipeline.dodo.simulator.goods import Plan
from pipeline.dodo.simulator.payments import Payment
from pipeline.dodo.simulator.scene import Happening, Scene, iso
from pipeline.dodo.simulator.templates import template

SUBSCRIPTION: Final = template("subscription.active", "discounts", "discount_id", "discount_cycles_remaining")
CREDIT_CART: Final[dict[str, Any]] = SUBSCRIPTION["credit_entitlement_cart"][0]
TEN_YEARS_US: Final = 3650 * goods.DAY_US
CREDIT_NUMBERS: Final = 0.2
"""Share of subscriptions whose credit figures are JSON numbers (dodopayments/dodo-adapters issue 128)."""


@dataclass(slots=True)
class Subscription:
    """What the bodies show of one subscription."""

    subscription_id: str
    plan: Plan
    created_us: int
    previous_us: int
    next_us: int
    quantity: int = 1
    status: str = "active"
    trial_days: int = 0
    method_id: str | None = None
    method: dict[str, Any] = field(default_factory=dict)
    number_credits: bool = False
    changes: dict[str, Any] = field(default_factory=dict)
    """Fields of the moment: scheduled cancellation, pause, end of grace."""

    def net(self, currency: str) -> int:
        """The plan's price in minor units, before tax."""
        return goods.minor(self.plan.cents, currency)

    def gross(self, currency: str) -> int:
        """What a period costs the customer, minor units."""
        return goods.with_tax(self.net(currency) * self.quantity, currency)


def begin(scene: Scene, plan: Plan, *, trial_days: int = 0) -> Subscription:
    """A subscription that is created now."""
    first_us = trial_days * goods.DAY_US or plan.period_us
    return Subscription(
        scene.id("sub"),
        plan,
        created_us=scene.now_us,
        previous_us=scene.now_us,
        next_us=scene.now_us + first_us,
        quantity=scene.rng.choice((1, 1, 1, 5)),
        trial_days=trial_days,
        method_id=scene.id("pm"),
        method=goods.method(scene.rng, scene.customer.currency),
        number_credits=scene.chance(CREDIT_NUMBERS),
    )


def veteran(scene: Scene, plan: Plan, *, periods: int, trial_days: int = 0) -> Subscription:
    """A subscription whose period ends now, after `periods` whole ones (or after its trial)."""
    subscription = begin(scene, plan, trial_days=trial_days)
    length_us = subscription.next_us - subscription.created_us
    subscription.created_us -= length_us * periods
    subscription.previous_us -= length_us
    subscription.next_us -= length_us
    return subscription


def roll(scene: Scene, subscription: Subscription) -> None:
    """A paid period begins now."""
    subscription.previous_us = scene.now_us
    subscription.next_us = scene.now_us + subscription.plan.period_us


def charge(scene: Scene, subscription: Subscription, charge_type: str, total: int | None = None) -> Payment:
    """A payment for the subscription; `total` in minor units, by default a period's price."""
    return Payment(
        scene.id("pay"),
        subscription.gross(scene.customer.currency) if total is None else total,
        scene.now_us,
        charge_type=charge_type,
        subscription_id=subscription.subscription_id,
        period_us=(scene.now_us, scene.now_us + subscription.plan.period_us),
        method=subscription.method,
    )


def tell(scene: Scene, subscription: Subscription, event: str, **extra: Any) -> Happening:
    """The subscription as it is now, under type `subscription.<event>`."""
    customer = scene.customer
    figures = {"credits_amount": 1000, "remaining_balance": 1000, "overage_balance": 0}
    data = {
        **SUBSCRIPTION,
        "billing": customer.billing,
        "created_at": iso(subscription.created_us),
        "credit_entitlement_cart": [
            {**CREDIT_CART, **figures, "product_id": subscription.plan.product_id}
            if subscription.number_credits
            else CREDIT_CART
        ],
        "currency": customer.currency,
        "customer": customer.limited,
        "expires_at": iso(subscription.created_us + TEN_YEARS_US),
        "has_payment_method": subscription.method_id is not None,
        "next_billing_date": iso(subscription.next_us),
        "payment_frequency_interval": subscription.plan.interval,
        "payment_method_id": subscription.method_id,
        "previous_billing_date": iso(subscription.previous_us),
        "product_id": subscription.plan.product_id,
        "quantity": subscription.quantity,
        "recurring_pre_tax_amount": subscription.net(customer.currency),
        "status": subscription.status,
        "subscription_id": subscription.subscription_id,
        "trial_period_days": subscription.trial_days,
        **subscription.changes,
        **extra,
    }
    return scene.tell(f"subscription.{event}", data)
