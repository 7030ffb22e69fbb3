"""Payments, refunds and disputes of one customer, as the bodies show them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from pipeline.dodo.simulator import goods
from pipeline.dodo.simulator.scene import Booking, Happening, Scene, iso
from pipeline.dodo.simulator.templates import template

ERRORS: Final = (
    ("INSUFFICIENT_FUNDS", "Your card has insufficient funds."),
    ("EXPIRED_CARD", "The card has expired."),
    ("DO_NOT_HONOR", "The bank declined the payment."),
    ("AUTHENTICATION_REQUIRED", "The bank asks for authentication."),
    ("PROCESSING_ERROR", "The payment could not be processed."),
)
PAYMENT: Final = template("payment.succeeded", "discounts", "discount_id")
REFUND: Final = template("refund.succeeded")
DISPUTE: Final = template("dispute.opened")
DISCOUNTS: Final = template("payment.succeeded")["discounts"]
DISCOUNTED: Final = 0.1
"""Share of one-time purchases with a discount code."""

NULL_AMOUNT: Final = 0.05
"""Share of full refunds whose amount and currency are null, which the typed model allows."""


@dataclass(slots=True)
class Payment:
    """One attempt to charge; `total` in the currency's minor units, tax included."""

    payment_id: str
    total: int
    created_us: int
    charge_type: str | None = None
    subscription_id: str | None = None
    period_us: tuple[int, int] | None = None
    cart: list[dict[str, Any]] | None = None
    retry: int = 0
    updates_method: bool = False
    method: dict[str, Any] = field(default_factory=dict)
    discounts: list[dict[str, Any]] | None = None
    refunded: int = 0


def buy(scene: Scene) -> Payment:
    """A one-time purchase that begins now."""
    currency = scene.customer.currency
    product_id, cents = scene.rng.choice(goods.ITEMS)
    quantity = scene.rng.choice((1, 1, 1, 2, 3))
    total = goods.with_tax(goods.minor(cents, currency) * quantity, currency)
    return Payment(
        scene.id("pay"),
        total,
        scene.now_us,
        cart=[{"product_id": product_id, "quantity": quantity}],
        method=goods.method(scene.rng, currency),
        discounts=DISCOUNTS if scene.chance(DISCOUNTED) else None,
    )


def succeeded(scene: Scene, payment: Payment) -> Happening:
    """The charge went through; a sale unless it is of nothing or only stores a card."""
    currency = scene.customer.currency
    sale = payment.total > 0 and not payment.updates_method
    tax = goods.tax_in(payment.total, currency)
    data = _body(scene, payment, "succeeded") | {
        "updated_at": iso(scene.now_us),
        "tax": tax,
        "settlement_amount": goods.settled(payment.total, currency),
        "settlement_tax": goods.settled(tax, currency),
        **payment.method,
    }
    return scene.tell("payment.succeeded", data, Booking("payment", currency, payment.total) if sale else None)


def processing(scene: Scene, payment: Payment, *, action: bool = False) -> Happening:
    """The charge is in progress; with `action` the bank asks the customer, for which Dodo sends the same type."""
    extra = {"status": "requires_customer_action", "three_ds_flow": "challenge"} if action else {}
    return scene.tell("payment.processing", {**_body(scene, payment, "processing"), "updated_at": None, **extra})


def failed(scene: Scene, payment: Payment) -> Happening:
    """One attempt failed."""
    code, message = scene.rng.choice(ERRORS)
    unsettled = {**goods.UNSETTLED, "error_code": code, "error_message": message}
    return scene.tell("payment.failed", {**_body(scene, payment, "failed"), "updated_at": None, **unsettled})


def cancelled(scene: Scene, payment: Payment) -> Happening:
    """The customer gave up."""
    unsettled = {
        **goods.UNSETTLED,
        "error_code": "CUSTOMER_CANCELLED",
        "error_message": "The customer cancelled the payment.",
    }
    return scene.tell("payment.cancelled", {**_body(scene, payment, "cancelled"), "updated_at": None, **unsettled})


def refund(scene: Scene, payment: Payment, amount: int, *, fails: bool = False) -> Happening:
    """Money back, or the attempt at it; `amount` in minor units of the payment's currency."""
    currency = scene.customer.currency
    partial = amount + payment.refunded < payment.total
    data: dict[str, Any] = {
        **REFUND,
        "amount": amount,
        "currency": currency,
        "created_at": iso(scene.now_us),
        "customer": scene.customer.limited,
        "is_partial": partial,
        "payment_id": payment.payment_id,
        "refund_id": scene.id("ref"),
        "network_reference_updated_at": iso(scene.now_us),
    }
    if fails:
        nothing = {"network_reference": None, "network_reference_type": None, "network_reference_updated_at": None}
        return scene.tell("refund.failed", {**data, "status": "failed", **nothing})
    if not partial and scene.chance(NULL_AMOUNT):
        data |= {"amount": None, "currency": None}
    payment.refunded += amount
    return scene.tell("refund.succeeded", data, Booking("refund", currency, amount))


def dispute(scene: Scene, payment: Payment, dispute_id: str, event: str, opened_us: int) -> Happening:
    """One step of a dispute; `event` is the type's second half."""
    rdr = event == "lost" and scene.chance(0.3)
    data = {
        **DISPUTE,
        "amount": str(payment.total),
        "created_at": iso(opened_us),
        "currency": scene.customer.currency,
        "customer": scene.customer.limited,
        "dispute_id": dispute_id,
        "dispute_stage": "pre_dispute" if rdr else "dispute",
        "dispute_status": f"dispute_{event}",
        "is_resolved_by_rdr": rdr,
        "payment_id": payment.payment_id,
        "remarks": "Evidence submitted" if event == "challenged" else None,
    }
    return scene.tell(f"dispute.{event}", data)


def _body(scene: Scene, payment: Payment, status: str) -> dict[str, Any]:
    customer = scene.customer
    period = payment.period_us
    subscription_ids = [payment.subscription_id] if payment.subscription_id else []
    return {
        **PAYMENT,
        "billing": customer.billing,
        "charge_type": payment.charge_type,
        "created_at": iso(payment.created_us),
        "currency": customer.currency,
        "customer": customer.limited,
        "discount_id": payment.discounts[0]["discount_id"] if payment.discounts else None,
        "discounts": payment.discounts,
        "is_update_payment_method": payment.updates_method,
        "payment_id": payment.payment_id,
        "invoice_url": f"https://live.dodopayments.com/invoices/payments/{payment.payment_id}",
        "product_cart": payment.cart,
        "retry_attempt": payment.retry,
        "service_periods": [
            {
                "ends_at": iso(period[1]),
                "proration_factor": "1",
                "starts_at": iso(period[0]),
                "subscription_id": payment.subscription_id,
            }
        ]
        if period
        else [],
        "settlement_amount": goods.settled(payment.total, customer.currency),
        "status": status,
        "subscription_id": payment.subscription_id,
        "subscription_ids": subscription_ids,
        "total_amount": payment.total,
    }
