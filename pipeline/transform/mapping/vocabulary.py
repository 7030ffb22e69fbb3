"""Every attribute that an event or a profile can carry: its form, an example, what it means.

An amount has three forms under one name (`X` text, `X_value` number, `X_minor` integer), a date two (`X` text, `X_unix`
seconds), a quantity two (`X` text, `X_value` number). A test holds it against everything that the mapping writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal, NamedTuple

Form = Literal["text", "whole", "flag", "list", "money", "date", "quantity", "seconds", "scalar"]

SUFFIXES: Final[Mapping[Form, tuple[str, ...]]] = MappingProxyType(
    {"money": ("", "_value", "_minor"), "date": ("", "_unix"), "quantity": ("", "_value")}
)


class Attribute(NamedTuple):
    """One attribute under its plain name."""

    form: Form
    example: str | int | bool | list[object]
    says: str

    def named(self, name: str) -> tuple[str, ...]:
        """The names under which its forms go out."""
        return tuple(f"{name}{suffix}" for suffix in SUFFIXES.get(self.form, ("",)))


def _text(example: str, says: str) -> Attribute:
    return Attribute("text", example, says)


def _date(says: str) -> Attribute:
    return Attribute("date", "2026-11-14T08:21:58Z", says)


def _money(example: str, says: str) -> Attribute:
    return Attribute("money", example, says)


def _flag(says: str) -> Attribute:
    return Attribute("flag", True, says)


def _whole(example: int, says: str) -> Attribute:
    return Attribute("whole", example, says)


def _quantity(example: str, says: str) -> Attribute:
    return Attribute("quantity", example, says)


STATUS: Final = "its status when the webhook was delivered, which may be newer than the event"

EVENT: Final[Mapping[str, Attribute]] = MappingProxyType(
    {
        "dodo_event_type": _text("payment.succeeded", "Dodo's type"),
        "webhook_id": _text("msg_2mX4", "the webhook, as Dodo's dashboard names it"),
        "dodo_mode": _text("test", "only in test mode"),
        "brand_id": _text("brd_0NExampleBrand0000001", "the brand"),
        "email": _text("ada@example.com", "the customer's address"),
        "name": _text("Ada Lovelace", "the customer's name"),
        "first_name": _text("Ada", "with PIPELINE_FIRST_NAMES, where it is plain"),
        "manage_subscription_url": _text("https://shop.example.com/account", "with PIPELINE_PORTAL_URL"),
        "superseded": _flag("the object's status contradicts the event: something newer is true"),
        "amount_unusable": _flag("there is no amount that a mail could print"),
        "payment_status": _text("succeeded", STATUS),
        "refund_status": _text("succeeded", STATUS),
        "dispute_status": _text("dispute_opened", STATUS),
        "subscription_status": _text("active", STATUS),
        "dunning_status": _text("recovering", STATUS),
        "checkout_status": _text("abandoned", STATUS),
        "license_key_status": _text("active", STATUS),
        "grant_status": _text("Delivered", STATUS),
        "payment_id": _text("pay_0NExamplePayment00001", "the payment"),
        "payment_amount": _money("46.65", "what was charged, tax included"),
        "payment_currency": _text("USD", "the payment's currency, where the event's own may be another"),
        "currency": _text("USD", "ISO 4217 code of the event's amounts"),
        "is_first_payment": _flag("the customer's first payment that is known"),
        "payment_method": _text("card", "how it was paid; `unknown` where Dodo does not say"),
        "payment_method_type": _text("apple_pay", "more exactly"),
        "card_network": _text("visa", "the card's network"),
        "card_last_four": _text("4242", "with PIPELINE_FORWARD_CARD_HINTS"),
        "card_exp_month": _text("12", "with PIPELINE_FORWARD_CARD_HINTS"),
        "card_exp_year": _text("2030", "with PIPELINE_FORWARD_CARD_HINTS"),
        "products": Attribute(
            "list",
            [{"product_id": "pdt_0NExampleProduct00001", "quantity": 1, "name": "Example book"}],
            "what was bought; `name` where it is known",
        ),
        "product_id": _text("pdt_0NExampleProduct00001", "the product, if it is one"),
        "product_name": _text("Pro plan", "its name, or those of all, where they are known"),
        "tax": _money("3.66", "the tax in the amount"),
        "tax_inclusive": _flag("whether the plan's price includes tax"),
        "invoice_id": _text("inv_0NExampleInvoice00001", "the invoice"),
        "invoice_url": _text("https://live.dodopayments.com/invoices/payments/pay_1", "where the invoice is"),
        "charge_type": _text("renewal", "new, renewal, plan_change or on_demand"),
        "discount_codes": Attribute("list", ["AUTUMN15"], "discounts that were used"),
        "retry_attempt": _whole(0, "which attempt, from 0"),
        "failure_category": _text(
            "insufficient_funds",
            "insufficient_funds, expired_card, authentication_required, declined, processing_error",
        ),
        "payment_link": _text("https://checkout.example.com/1", "where it can be paid"),
        "checkout_session_id": _text("cks_0NExampleCheckout0001", "the checkout session"),
        "customer_business_name": _text("Example Trading Ltd", "the firm that buys"),
        "subscription_id": _text("sub_0NExampleSubscript001", "the subscription"),
        "subscription_ids": Attribute("list", ["sub_1", "sub_2"], "of a payment for several"),
        "quantity": _whole(1, "how many"),
        "addons": Attribute("list", [{"addon_id": "adn_1", "quantity": 2}], "add-ons"),
        "amount": _money("29.00", "the plan's price for a period, before tax unless tax_inclusive"),
        "frequency": _text("Month", "Day, Week, Month or Year"),
        "frequency_count": _whole(1, "how many of them a period has"),
        "next_billing": _date("when it is billed next; absent once it has ended"),
        "trial_period_days": _whole(14, "length of the free trial, 0: none"),
        "is_trial": _flag("it is in its free trial"),
        "trial_ends_at": _date("when that ends"),
        "trial_amount": _money("1.00", "price of a paid trial"),
        "is_trial_conversion": _flag("the first charge after a free trial"),
        "on_demand": _flag("charged at any time"),
        "has_payment_method": _flag("there is something to charge"),
        "cancelled_at": _date("when it was cancelled"),
        "cancel_at_next_billing": _flag("it ends with the period"),
        "ends_at": _date("when a scheduled cancellation takes effect"),
        "cancelled_by": _text("customer", "customer, merchant_user, api_key, dodo_team or system_or_unknown"),
        "cancellation_feedback": _text("too_expensive", "the reason that was ticked"),
        "paused_at": _date("when it was paused"),
        "past_due_ends_at": _date("when the grace period ends"),
        "expires_at": _date("when it ends for good"),
        "scheduled_product_id": _text("pdt_0NExampleProduct00002", "the plan that it changes to"),
        "scheduled_product_name": _text("Team plan", "its name"),
        "scheduled_change_at": _date("when it changes"),
        "previous_product_id": _text("pdt_0NExampleProduct00001", "the plan before"),
        "previous_product_name": _text("Starter plan", "its name"),
        "previous_amount": _money("9.00", "its price, if that was in the same currency"),
        "direction": _text("upgrade", "upgrade, downgrade or same_price, at equal currency and interval"),
        "refund_id": _text("ref_0NExampleRefund000001", "the refund"),
        "refund_amount": _money("10.00", "what this refund gave back"),
        "refunded_total": _money("46.65", "what of the payment is back by now, in payment_currency"),
        "fully_refunded": _flag("nothing of the payment is left"),
        "is_partial": _flag("Dodo calls it a part"),
        "reason": _text("requested by customer", "why"),
        "dispute_id": _text("dp_0NExampleDispute00001", "the dispute"),
        "dispute_amount_raw": _text("4665", "as sent; its unit is documented nowhere"),
        "dispute_amount": _money("46.65", "where it is the known payment's amount"),
        "dispute_stage": _text("dispute", "pre_dispute, dispute or pre_arbitration"),
        "is_resolved_by_rdr": _flag("decided by Visa's rules at once"),
        "trigger_state": _text("on_hold", "on_hold, past_due or cancelled"),
        "abandoned_at": _date("when it was left"),
        "recovered_payment_id": _text("pay_0NExamplePayment00002", "the payment that made up for it"),
        "license_key_id": _text("lic_0NExampleLicense00001", "the key's id, never the key"),
        "activations_limit": _whole(5, "on how many machines"),
        "grant_id": _text("grant_0NExampleGrant0001", "the grant"),
        "entitlement_id": _text("ent_9xY2bKwQn5MjRpL8d", "what is granted"),
        "integration_type": _text("discord", "where it is granted"),
        "revocation_reason": _text("subscription_cancelled", "why it was taken back"),
        "credit_name": _text("API Credits", "the kind of credit"),
        "credit_entitlement_id": _text("cent_0NExampleCredit000001", "its id"),
        "credit_entry_id": _text("cle_0NExampleLedger000001", "the ledger's entry"),
        "balance": _quantity("140", "credits left"),
        "threshold": _quantity("20", "the warning's level"),
        "threshold_percent": _whole(20, "the same in percent"),
        "subscription_credits": _quantity("100", "credits of a period"),
        "is_credit": _flag("credits came; false: they went"),
        "transaction_type": _text("credit_added", "the kind of entry"),
    }
)

CREDIT_AMOUNT: Final = _quantity("40", "credits of this entry")
"""`amount` of credit events: units, no money."""

PROFILE: Final[Mapping[str, Attribute]] = MappingProxyType(
    {
        "email": EVENT["email"],
        "name": EVENT["name"],
        "first_name": EVENT["first_name"],
        "phone": _text("+15555550142", "E.164"),
        "country": _text("US", "ISO 3166-1, of the billing address"),
        "created_at": Attribute("seconds", 1794644518, "with PIPELINE_SET_CREATED_AT, when the person was first seen"),
        "dodo_mode": EVENT["dodo_mode"],
        "total_spent": _money("46.65", "everything paid less refunds, in total_spent_currency"),
        "total_spent_currency": _text("USD", "the currency of the first payment"),
        "payment_count": _whole(3, "payments of more than nothing"),
        "last_payment_date": _date("the last payment"),
        "customer_since": _date("the first payment"),
        "payment_method": _text("card", "how was paid last"),
        "has_lost_dispute": _flag("a dispute was lost or accepted"),
        "card_network": EVENT["card_network"],
        "card_last_four": EVENT["card_last_four"],
        "card_exp_month": EVENT["card_exp_month"],
        "card_exp_year": EVENT["card_exp_year"],
        "card_expires_at": _date("with PIPELINE_FORWARD_CARD_HINTS, the last second of the card's last month"),
        "manage_subscription_url": EVENT["manage_subscription_url"],
        "subscription_id": _text("sub_0NExampleSubscript001", "the subscription that speaks for the person"),
        "subscription_status": _text("active", "its status"),
        "subscription_product_id": _text("pdt_0NExampleProduct00001", "its product"),
        "subscription_product_name": _text("Pro plan", "the product's name; null once it will not bill again"),
        "subscription_amount": _money("29.00", "its price for a period; null once it will not bill again"),
        "subscription_currency": _text("USD", "of that price; null once it will not bill again"),
        "subscription_interval": _text("Month", "Day, Week, Month or Year; null once it will not bill again"),
        "subscription_interval_count": _whole(1, "how many a period has; null once it will not bill again"),
        "is_trial": _flag("it is in its free trial; null once it will not bill again"),
        "trial_ends_at": _date("when that ends; null outside a trial"),
        "next_billing": _date("when it is billed next; null once it will not bill again"),
        "cancelled_at": _date("when it was cancelled"),
        "cancel_at_next_billing": _flag("it ends with the period"),
        "active_subscriptions": _whole(1, "how many are active"),
        "active_product_ids": Attribute("list", ["pdt_0NExampleProduct00001"], "their products"),
    }
)

BY_CURRENCY: Final = _money("46.65", "everything paid less refunds in one currency: `total_spent_usd`, …")
"""`total_spent_<cur>` on the profile."""

METADATA: Final = Attribute("scalar", "pro", "metadata on the list of PIPELINE_METADATA_KEYS: `metadata_<key>`")
"""`metadata_<key>` on both."""
