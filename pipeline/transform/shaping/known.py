"""What a shaper may ask about the customer, out of the state's profile."""

from __future__ import annotations

from pipeline.transform.profile import PersonProfile
from pipeline.transform.shaping.types import Known, KnownSubscription

NOTHING_KNOWN = Known()


def known_of(profile: PersonProfile | None) -> Known:
    """The customer as the state knows them, the webhook included."""
    if profile is None:
        return NOTHING_KNOWN
    spending, contact, speaking = profile.spending, profile.contact, profile.speaking
    return Known(
        is_known=True,
        spent_minor=dict(spending.minor),
        currency=spending.currency,
        payment_count=spending.payment_count,
        customer_since_ms=spending.customer_since_ms,
        has_lost_dispute=profile.has_lost_dispute,
        subscription=None
        if speaking is None
        else KnownSubscription(
            id=speaking.subscription_id,
            status=speaking.status,
            product_id=speaking.product_id,
            amount_minor=speaking.minor,
            currency=speaking.currency,
            next_billing=speaking.next_billing,
            cancel_at_next_billing=speaking.cancel_at_next_billing,
        ),
        active_subscriptions=profile.active.subscriptions,
        email=contact.email,
        name=contact.name,
        country=contact.country,
    )
