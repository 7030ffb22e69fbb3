"""Bodies of what follows a purchase (licence keys, entitlement grants, credits) or a failure (dunning).

None of these bodies has a customer object, only the `customer_id`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from pipeline.dodo.simulator.goods import DAY_US
from pipeline.dodo.simulator.scene import Happening, Scene, iso
from pipeline.dodo.simulator.templates import template

LICENSE: Final = template("license_key.created")
GRANTS: Final = {
    event: template(f"entitlement_grant.{event}") for event in ("created", "delivered", "failed", "revoked")
}
LEDGER: Final = {
    event: template(f"credit.{event}")
    for event in (
        "added",
        "deducted",
        "expired",
        "rolled_over",
        "rollover_forfeited",
        "overage_charged",
        "overage_reset",
        "manual_adjustment",
    )
}
FIGURES: Final = ("amount", "balance_before", "balance_after", "overage_before", "overage_after")
BALANCE_LOW: Final = template("credit.balance_low")
ABANDONED: Final = template("abandoned_checkout.detected")
DUNNING: Final = template("dunning.started")
AS_NUMBERS: Final = 0.2
"""Share of ledger entries whose figures are JSON numbers (dodopayments/dodo-adapters issue 128)."""


def license_key(scene: Scene, payment_id: str) -> Happening:
    """A key was made for the purchase."""
    data = {
        **LICENSE,
        "created_at": iso(scene.now_us),
        "customer_id": scene.customer.customer_id,
        "expires_at": iso(scene.now_us + 365 * DAY_US),
        "id": scene.id("lic"),
        "key": f"{scene.rng.getrandbits(128):032x}",
        "payment_id": payment_id,
    }
    return scene.tell("license_key.created", data)


@dataclass(frozen=True, slots=True)
class Grant:
    """One entitlement of the customer."""

    grant_id: str
    created_us: int
    payment_id: str | None
    subscription_id: str | None


def grant(scene: Scene, *, payment_id: str | None = None, subscription_id: str | None = None) -> Grant:
    """An entitlement that is granted now."""
    return Grant(scene.id("grant"), scene.now_us, payment_id, subscription_id)


def tell_grant(scene: Scene, given: Grant, event: str) -> Happening:
    """A step of the grant; `event` is the type's second half."""
    now = iso(scene.now_us)
    data = {
        **GRANTS[event],
        "created_at": iso(given.created_us),
        "customer_id": scene.customer.customer_id,
        "delivered_at": now if event == "delivered" else None,
        "id": given.grant_id,
        "payment_id": given.payment_id,
        "revoked_at": now if event == "revoked" else None,
        "subscription_id": given.subscription_id,
        "updated_at": now,
    }
    return scene.tell(f"entitlement_grant.{event}", data)


def credit(scene: Scene, event: str, subscription_id: str, amount: int, balance: int) -> Happening:
    """One entry of the credit ledger; `amount` and the `balance` before it in units."""
    entry = LEDGER[event]
    after = balance + amount if entry["is_credit"] else max(0, balance - amount)
    data: dict[str, Any] = {
        **entry,
        "amount": str(amount),
        "balance_before": str(balance),
        "balance_after": str(after),
        "created_at": iso(scene.now_us),
        "customer_id": scene.customer.customer_id,
        "id": scene.id("cle"),
        "reference_id": entry["reference_id"] and subscription_id,
    }
    if scene.chance(AS_NUMBERS):
        data |= {name: int(data[name]) for name in FIGURES}
    return scene.tell(f"credit.{event}", data)


def balance_low(scene: Scene, subscription_id: str, balance: int) -> Happening:
    """The balance fell below the threshold; this body has no id of its own."""
    data = {
        **BALANCE_LOW,
        "available_balance": str(balance),
        "customer_id": scene.customer.customer_id,
        "subscription_id": subscription_id,
    }
    return scene.tell("credit.balance_low", data)


def abandoned(scene: Scene, payment_id: str, since_us: int, status: str, recovered_by: str | None = None) -> Happening:
    """A checkout was left, or paid after all by payment `recovered_by`."""
    data = {
        **ABANDONED,
        "abandoned_at": iso(since_us),
        "abandonment_reason": "payment_failed" if scene.chance(0.5) else "checkout_incomplete",
        "customer_id": scene.customer.customer_id,
        "payment_id": payment_id,
        "recovered_payment_id": recovered_by,
        "status": status,
    }
    return scene.tell(f"abandoned_checkout.{'recovered' if recovered_by else 'detected'}", data)


def dunning(scene: Scene, subscription_id: str, since_us: int, trigger: str, paid_by: str | None = None) -> Happening:
    """Recovery of a subscription began, or ended by payment `paid_by`."""
    data = {
        **DUNNING,
        "created_at": iso(since_us),
        "customer_id": scene.customer.customer_id,
        "payment_id": paid_by,
        "status": "recovered" if paid_by else "recovering",
        "subscription_id": subscription_id,
        "trigger_state": trigger,
    }
    return scene.tell(f"dunning.{'recovered' if paid_by else 'started'}", data)
