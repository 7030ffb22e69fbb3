"""The campaigns of docs/campaigns.md, and what starts each: an event, or a date on the profile."""

from __future__ import annotations

from typing import Final, NamedTuple


class Campaign(NamedTuple):
    """A campaign as its page names it, with the events that start it or the date attributes that it waits for."""

    name: str
    events: tuple[str, ...] = ()
    dates: tuple[str, ...] = ()


CAMPAIGNS: Final = (
    Campaign("Welcome", events=("payment_completed",)),
    Campaign("Onboarding after a trial's start", events=("subscription_started", "trial_started")),
    Campaign("Trial ending", dates=("trial_ends_at_unix",)),
    Campaign("Conversion thanks", events=("subscription_renewed", "trial_converted")),
    Campaign("Renewal reminder", dates=("next_billing_unix",)),
    Campaign("Failed payment", events=("dunning_started",)),
    Campaign("Card expiring", dates=("card_expires_at_unix",)),
    Campaign("Abandoned checkout", events=("abandoned_checkout_detected",)),
    Campaign("Win-back", events=("winback_started", "subscription_cancelled")),
    Campaign("Cancellation survey", events=("subscription_cancelled", "subscription_cancellation_scheduled")),
    Campaign("Refund apology", events=("refund_succeeded",)),
    Campaign("Dispute alert to staff", events=("dispute_opened",)),
)


def campaigns_of(event: str) -> tuple[str, ...]:
    """The campaigns that an event starts."""
    return tuple(campaign.name for campaign in CAMPAIGNS if event in campaign.events)
