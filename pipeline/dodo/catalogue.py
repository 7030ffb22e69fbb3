"""The 48 webhook types and the payload family of each.

Source: `WebhookEventType` of the `dodopayments` SDK 1.123.0. There were 21 types in September 2025; new ones arrive
without notice, so a webhook of a type that is not here is accepted, and kept as a dead letter `unknown-type`.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class Family(StrEnum):
    """Types that share one payload shape, and so one file of the mapping."""

    PAYMENT = "payment"
    REFUND = "refund"
    DISPUTE = "dispute"
    SUBSCRIPTION = "subscription"
    LICENSE_KEY = "license_key"
    PAYOUT = "payout"
    CREDIT = "credit"
    ABANDONED_CHECKOUT = "abandoned_checkout"
    DUNNING = "dunning"
    ENTITLEMENT_GRANT = "entitlement_grant"


_EVENTS: Final[Mapping[Family, tuple[str, ...]]] = {
    Family.PAYMENT: ("succeeded", "failed", "processing", "cancelled"),
    Family.REFUND: ("succeeded", "failed"),
    Family.DISPUTE: ("opened", "challenged", "accepted", "cancelled", "expired", "won", "lost"),
    Family.SUBSCRIPTION: (
        "active",
        "renewed",
        "on_hold",
        "past_due",
        "paused",
        "unpaused",
        "cancelled",
        "failed",
        "expired",
        "plan_changed",
        "updated",
        "update_payment_method",
    ),
    Family.LICENSE_KEY: ("created",),
    Family.PAYOUT: ("created", "in_progress", "on_hold", "failed", "success"),
    Family.CREDIT: (
        "added",
        "deducted",
        "expired",
        "rolled_over",
        "rollover_forfeited",
        "overage_charged",
        "overage_reset",
        "manual_adjustment",
        "balance_low",
    ),
    Family.ABANDONED_CHECKOUT: ("detected", "recovered"),
    Family.DUNNING: ("started", "recovered"),
    Family.ENTITLEMENT_GRANT: ("created", "delivered", "failed", "revoked"),
}

TYPES: Final[Mapping[str, Family]] = MappingProxyType(
    {f"{family}.{event}": family for family, events in _EVENTS.items() for event in events}
)
"""Every type that Dodo sends today."""

RETIRED: Final[Mapping[str, str]] = MappingProxyType({"payout.not_initiated": "payout.created"})
"""Types that Dodo no longer sends but stored deliveries may have, and the present name of each."""
