"""The one subscription that a person's profile shows."""

from __future__ import annotations

from typing import Final

from pipeline.transform.mapping.case import Attributes, Case
from pipeline.transform.profile import BILLING, ENDED, Subscription
from pipeline.transform.timestamps import MAX_PLAUSIBLE_MS, iso, to_s

PLAN: Final = (
    "subscription_product_name",
    "subscription_amount",
    "subscription_amount_value",
    "subscription_amount_minor",
    "subscription_currency",
    "subscription_interval",
    "subscription_interval_count",
)
TRIAL: Final = ("is_trial", "trial_ends_at", "trial_ends_at_unix")
NEXT_BILLING: Final = ("next_billing", "next_billing_unix")


def fill_primary_subscription(case: Case, into: Attributes, subscription: Subscription) -> None:
    """Write `subscription` into the profile's attributes.

    What it will be billed, when, and whether it is in a trial become null, which removes them, once it will not bill
    again: a campaign "renews soon" or "your trial ends" must never reach an ex-customer, nor one who has cancelled.
    Without the state a status that nobody knows leaves all as it is. With it whatever this subscription does not have
    is null: it would else be left of another one, or of an older delivery.
    """
    knows = case.profile is not None
    into["subscription_id"] = subscription.subscription_id
    if subscription.status is not None or knows:
        into["subscription_status"] = subscription.status
    if subscription.product_id is not None or knows:
        into["subscription_product_id"] = subscription.product_id
    bills = subscription.status in BILLING and not subscription.cancel_at_next_billing
    if bills:
        _plan(case, into, subscription)
        _trial(into, subscription)
    elif knows or subscription.status in BILLING | ENDED or subscription.status == "paused":
        into.update(dict.fromkeys((*PLAN, *TRIAL, *NEXT_BILLING)))
    # Both or neither: a text that no longer fits its number would contradict it on the profile.
    if bills and to_s(subscription.next_billing) is not None:
        case.date(into, "next_billing", subscription.next_billing)
    elif bills and knows:
        into.update(dict.fromkeys(NEXT_BILLING))
    if to_s(subscription.cancelled_at) is not None:
        case.date(into, "cancelled_at", subscription.cancelled_at)
    elif knows or bills:
        into["cancelled_at"] = into["cancelled_at_unix"] = None
    into["cancel_at_next_billing"] = subscription.cancel_at_next_billing


def _plan(case: Case, into: Attributes, subscription: Subscription) -> None:
    """The plan that bills next. All of it, also what is not known: a person's plans change."""
    into["subscription_product_name"] = case.policy.product_names.get(subscription.product_id or "")
    case.profile_money(into, "subscription_amount", subscription.minor, subscription.currency)
    into["subscription_currency"] = subscription.currency
    into["subscription_interval"] = subscription.interval
    into["subscription_interval_count"] = subscription.interval_count


def _trial(into: Attributes, subscription: Subscription) -> None:
    """Whether it is in its free trial, and when that ends."""
    ends_ms = subscription.trial_ends_ms
    into.update(dict.fromkeys(TRIAL))
    into["is_trial"] = ends_ms is not None
    if ends_ms is not None and 0 <= ends_ms < MAX_PLAUSIBLE_MS:
        into["trial_ends_at"], into["trial_ends_at_unix"] = iso(ends_ms), ends_ms // 1000
