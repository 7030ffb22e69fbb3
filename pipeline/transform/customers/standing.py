"""How one subscription stands: what a summary holds of it, and its place among the customer's others.

Both follow from its facts alone. The places are keys, so that a mirror keeps them in order (`roster`).
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final, NamedTuple

from pipeline.transform.customers import turns
from pipeline.transform.customers.facts import NUL, Fact, charges_of
from pipeline.transform.customers.named import SubscriptionFact
from pipeline.transform.mapping.periods import is_opening, tolerance_of
from pipeline.transform.profile import ENDED, RANK

OTHERS: Final = len(RANK)
"""Rank of those that have ended, or not begun."""

ACTIVE: Final = RANK["active"]

STATUS: Final = 1
PRODUCT: Final = 2
CREATED: Final = 5
TRIAL_ENDS: Final = 10
"""Elements of a standing."""

PRODUCT_BYTES: Final = 96
"""So much of a product's id is in its key; a longer one goes on with its digest. Dodo's have about 30."""

_RANK_PLACE: Final = 1
_CREATED_BYTES: Final = 9
_MAX_CREATED_MS: Final = 2**64 - 1
"""JSON of a fact holds no larger number, and none below -2^63."""


class RosterPlace(NamedTuple):
    """Where a subscription stands among the customer's others; the least `order` speaks for the person.

    `product` is set while it is active.
    """

    rank: int
    order: bytes
    product: str | None

    @property
    def is_active(self) -> bool:
        """Whether its product is the customer's."""
        return self.rank == ACTIVE


def place_of(standing: Fact) -> RosterPlace:
    """The place of a subscription that stands so."""
    rank = RANK.get(standing[STATUS], OTHERS)
    order = order_of(rank, standing[CREATED], standing[0])
    return RosterPlace(rank, order, standing[PRODUCT] if rank == ACTIVE else None)


def place_by(subscription_id: str, fact: SubscriptionFact) -> RosterPlace:
    """The place of a subscription by its fact."""
    rank = RANK.get(fact.standing, OTHERS)
    order = order_of(rank, fact.created_ms, subscription_id)
    return RosterPlace(rank, order, fact.plan.product_id if rank == ACTIVE else None)


def order_of(rank: int, created_ms: int, subscription_id: str = "") -> bytes:
    """By rank, then the newest first, then by id."""
    age = (_MAX_CREATED_MS - created_ms).to_bytes(_CREATED_BYTES, "big")
    return b"%d%b%b" % (rank, age, subscription_id.encode())


def read_order(order: bytes) -> tuple[int, str]:
    """When the subscription of a place was created, and its id."""
    created_end = _RANK_PLACE + _CREATED_BYTES
    return _MAX_CREATED_MS - int.from_bytes(order[_RANK_PLACE:created_end], "big"), order[created_end:].decode()


def product_order(product_id: str) -> bytes:
    """Where a product stands among others: by its id."""
    encoded = product_id.encode()
    if len(encoded) <= PRODUCT_BYTES:
        return encoded + NUL
    return encoded[:PRODUCT_BYTES] + NUL + blake2b(encoded, digest_size=16).digest()


def standing_of(subscription_id: str, fact: SubscriptionFact, *, charged: bool) -> Fact:
    """What a summary holds of a subscription.

    `[id, status, product, next billing, cancels, created (ms), minor units, currency, interval, intervals in a period,
    end of the free trial (ms, None: none, or charged since), when it was cancelled]`; the id as in the fact's key.

    Args:
        subscription_id: the id.
        fact: the subscription's.
        charged: more than nothing was paid for it beyond what opened it.
    """
    plan, end, cancelled_at = fact.plan, turns.end_of(fact.turns), fact.cancelled_at
    if end is not None and fact.status not in ENDED:
        cancelled_at = end[2] if end[2:] else None  # what was read last is older
    return [
        subscription_id,
        fact.standing,
        plan.product_id,
        fact.next_billing,
        fact.cancels,
        fact.created_ms,
        *plan.price,
        None if charged else fact.trial_ends_ms,
        cancelled_at,
    ]


def in_trial(fact: SubscriptionFact) -> bool:
    """Whether it was seen last in a free trial: only then it matters whether it was charged since."""
    return fact.trial_ends_ms is not None


def is_charged(charges: Fact | None, fact: SubscriptionFact) -> bool:
    """Whether more than nothing was paid for a subscription but for what opened it: a fee for a trial ends none."""
    if charges is None:
        return False
    tolerance_ms = tolerance_of(fact.plan.interval, fact.plan.interval_count, fact.trial_days)
    return any(
        not is_opening(charge_type, at_ms, fact.created_ms, tolerance_ms)
        for at_ms, _, charge_type in charges_of(charges)[0]
    )
