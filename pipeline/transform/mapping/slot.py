"""The one subscription that a person's profile shows."""

from __future__ import annotations

from pipeline.transform.mapping.case import Attributes, Case
from pipeline.transform.profile import BILLING, ENDED, Subscription
from pipeline.transform.timestamps import to_s


def fill_slot(case: Case, into: Attributes, subscription: Subscription) -> None:
    """Write `subscription` into the profile's attributes.

    `next_billing` and `next_billing_unix` become null, which removes them, once it will not bill again: a campaign
    "renews soon" must never reach an ex-customer. Without the state a status that nobody knows leaves both as they are.
    With it whatever this subscription does not have is null: it would else be left of another one, or of an older
    delivery.
    """
    knows = case.profile is not None
    into["subscription_id"] = subscription.subscription_id
    if subscription.status is not None or knows:
        into["subscription_status"] = subscription.status
    if subscription.product_id is not None or knows:
        into["subscription_product_id"] = subscription.product_id
    bills = subscription.status in BILLING and not subscription.cancel_at_next_billing
    # Both or neither: a text that no longer fits its number would contradict it on the profile.
    if bills and to_s(subscription.next_billing) is not None:
        case.date(into, "next_billing", subscription.next_billing)
    elif knows or (not bills and (subscription.status in BILLING | ENDED or subscription.status == "paused")):
        into["next_billing"] = None
        into["next_billing_unix"] = None
    into["cancel_at_next_billing"] = subscription.cancel_at_next_billing
