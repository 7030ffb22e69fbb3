"""A customer's summary: all that the mapping asks of many facts at once, so that no webhook reads them all.

It follows from the facts alone, whatever their order, and is kept beside them, never in the changelog. `fold` makes it
of all facts; `Summary` follows one fact after the other, and returns false in the rare case that only a fold can. Its
size does not grow with the customer: of many subscriptions it has the primary one, and the others lie in their order
beside it (`roster`). Both ways are in one module since they must come to the same for every kind of fact.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, Self

import orjson

from pipeline.transform.customers import identity
from pipeline.transform.customers.facts import Fact, decode, split
from pipeline.transform.customers.named import PaymentFact, RefundFact, SubscriptionFact
from pipeline.transform.customers.shape import MAX_PRODUCTS
from pipeline.transform.customers.standing import (
    OTHERS,
    TRIAL_ENDS,
    RosterPlace,
    is_charged,
    place_of,
    product_order,
    standing_of,
)
from pipeline.transform.money import MAX_MINOR
from pipeline.transform.timestamps import to_ms

VERSION: Final = b"\x09"
"""First byte. Another version's summary is made anew; raise it with every change of what is summed up, or how."""

MAX_PERIODS: Final = 8
"""Latest service periods that are kept, over all subscriptions: a renewal asks for one that begins now."""

UNSUMMED: Final = frozenset({"trial", "change", "replacement", "method", "activation", "cancellation", "unpaid"})
"""Kinds that are read one by one where they are asked for."""


class Summary:
    """The summary; members hold decoded JSON.

    Attributes:
        forgotten_s: when the customer was forgotten, 0: never.
        count: counted payments: of more than nothing, and no card updates.
        spent: minor units by currency, less refunds.
        first: `[ms, payment, time]` of the first counted payment.
        base: `[ms, payment, currency]` of the first one with a currency.
        last: `[ms, payment, time]` of the last counted payment.
        method: `[ms, payment, method]` of the last payment that has one, whatever it was for.
        refunds: how many there are.
        lost: whether a dispute was lost or accepted.
        live: of the subscriptions that go on the one that speaks for the person (`standing.standing_of`).
        rest: of the others the newest one.
        active: how many subscriptions are active.
        products: their products, the first `MAX_PRODUCTS` in the order of their keys.
        card: `[ms, payment, network, last four, month, year]` of the last payment, where cards may go on.
        periods: `[start (ms), subscription, payment]`, the latest first.
        head: `[ULID, emitted (s)]` of the event that is out for longest.
        identity: who the customer is, of its record and of the notes on payments.
    """

    __slots__ = (
        "active",
        "base",
        "card",
        "count",
        "first",
        "forgotten_s",
        "head",
        "identity",
        "last",
        "live",
        "lost",
        "method",
        "periods",
        "products",
        "refunds",
        "rest",
        "spent",
    )

    def __init__(self) -> None:
        self.forgotten_s: int = 0
        self.count: int = 0
        self.spent: dict[str, int] = {}
        self.first: Fact | None = None
        self.base: Fact | None = None
        self.last: Fact | None = None
        self.method: Fact | None = None
        self.refunds: int = 0
        self.lost: bool = False
        self.live: Fact | None = None
        self.rest: Fact | None = None
        self.active: int = 0
        self.products: list[str] = []
        self.periods: list[Fact] = []
        self.head: Fact | None = None
        self.card: Fact | None = None
        self.identity: Fact = identity.empty()

    @classmethod
    def decode(cls, value: bytes | None) -> Self | None:
        """The summary that `value` holds; None when there is none of this version."""
        if value is None or value[:1] != VERSION:
            return None
        summary = cls.__new__(cls)
        (
            summary.forgotten_s,
            summary.count,
            summary.spent,
            summary.first,
            summary.base,
            summary.last,
            summary.method,
            summary.refunds,
            summary.lost,
            summary.live,
            summary.rest,
            summary.active,
            summary.products,
            summary.periods,
            summary.head,
            summary.card,
            summary.identity,
        ) = orjson.loads(value[1:])
        summary.spent = sums_of(summary.spent)
        return summary

    def encode(self) -> bytes:
        """The summary to keep."""
        members: list[Any] = [
            self.forgotten_s,
            self.count,
            told_sums(self.spent),
            self.first,
            self.base,
            self.last,
            self.method,
            self.refunds,
            self.lost,
            self.live,
            self.rest,
            self.active,
            self.products,
            self.periods,
            self.head,
            self.card,
            self.identity,
        ]
        return VERSION + orjson.dumps(members, option=orjson.OPT_SORT_KEYS)

    # One fact after the other. Each returns whether the summary is right now; if not, it is to be folded.

    def pay(self, payment_id: str, old: PaymentFact | None, new: PaymentFact, refunds: Sequence[RefundFact]) -> bool:
        """A payment is known now, or better than before; `refunds` are all that are known of it."""
        if old is not None:
            return self._pay_again(payment_id, old, new)
        minor, currency = counted(new), new.currency
        self._pay_with(payment_id, new, minor)
        if new.periods:
            self.periods += [[starts_ms, subscription_id, payment_id] for subscription_id, starts_ms in new.periods]
            self.periods = sorted(self.periods, reverse=True)[:MAX_PERIODS]
        if minor is None:
            return True
        self.count += 1
        if currency is None:
            return True
        left = minor - (refunded(new, refunds) or 0) if refunds else minor
        if currency in self.spent:
            self.spent[currency] += left
        else:
            self.spent[currency] = left
            self.spent = dict(sorted(self.spent.items()))
        return True

    def _pay_again(self, payment_id: str, old: PaymentFact, new: PaymentFact) -> bool:
        """A better version of the same payment: a webhook after a backfill, or another reading of one webhook."""
        if (old.minor, old.currency, old.is_card_update, old.periods) != (
            new.minor, new.currency, new.is_card_update, new.periods,
        ):  # fmt: skip
            return False
        before, now = to_ms(old.time) or 0, to_ms(new.time) or 0
        stands_in = [entry for entry in (self.first, self.base) if now > before] + [self.last if now < before else None]
        if new.method is None or now < before:
            stands_in.append(self.method)
        if any(entry is not None and entry[1] == payment_id for entry in stands_in):
            return False  # another payment may take its place
        self._pay_with(payment_id, new, counted(new))
        return True

    def _pay_with(self, payment_id: str, payment: PaymentFact, minor: int | None) -> None:
        """First, last and how; `minor` is what is counted of it."""
        time, currency = payment.time, payment.currency
        ms = to_ms(time) or 0
        if payment.method is not None and _is_behind(self.method, ms, payment_id):
            self.method = [ms, payment_id, payment.method]
        if minor is None:
            return
        if _is_behind(self.last, ms, payment_id):
            self.last = [ms, payment_id, time]
        if _is_ahead(self.first, ms, payment_id):
            self.first = [ms, payment_id, time]
        if currency is not None and _is_ahead(self.base, ms, payment_id):
            self.base = [ms, payment_id, currency]

    def refund(self, payment: PaymentFact | None, before: list[RefundFact], now: list[RefundFact]) -> bool:
        """A refund is known now, or better than before; `before` and `now` are all that are known of its payment."""
        self.refunds += len(now) - len(before)
        if payment is not None and counted(payment) is not None and payment.currency is not None:
            self.spent[payment.currency] += (refunded(payment, before) or 0) - (refunded(payment, now) or 0)
        return True

    def charge(self, subscription_id: str) -> bool:
        """More than nothing was paid for a subscription: no free trial of it goes on."""
        for standing in (self.live, self.rest):
            if standing is not None and standing[0] == subscription_id:
                standing[TRIAL_ENDS] = None
        return True

    def emit(self, event_id: str, emitted_s: int) -> bool:
        """An event is out."""
        if self.head is None or (emitted_s, event_id) < (self.head[1], self.head[0]):
            self.head = [event_id, emitted_s]
        return True


class Folded(NamedTuple):
    """What a customer's facts come to: the summary, and beside it where each subscription stands, and which events are
    out since when (seconds)."""  # noqa: D205, D209 - one sentence

    summary: Summary
    places: list[RosterPlace]
    events: list[tuple[str, int]]


def fold(facts: Iterable[tuple[bytes, bytes]]) -> Folded:
    """What a customer's facts come to, keys and values as in the store; what cannot be read is passed over."""
    summary = Summary()
    payments: list[tuple[str, PaymentFact]] = []
    refunds: dict[str, list[RefundFact]] = {}
    subscriptions: list[tuple[str, SubscriptionFact]] = []
    charges: dict[str, Fact] = {}
    events: list[tuple[str, int]] = []
    for key, value in facts:
        _, kind, id_ = split(key)
        if kind in UNSUMMED or (fact := decode(kind, value)) is None:
            continue
        match kind:
            case "payment":
                payments.append((id_, PaymentFact.of(fact)))
            case "refund":
                refunds.setdefault(id_.partition("\0")[0], []).append(RefundFact.of(fact))
            case "charge":
                charges[id_] = fact
            case "card":
                summary.card = fact
            case "subscription":
                subscriptions.append((id_, SubscriptionFact.of(fact)))
            case "dispute":
                summary.lost = True
            case "event":
                summary.emit(id_, fact[0])
                events.append((id_, fact[0]))
            case "forgotten":
                summary.forgotten_s = fact[0]
            case "identity":
                summary.identity = fact
    for payment_id, payment in payments:
        summary.pay(payment_id, None, payment, refunds.get(payment_id, ()))
    summary.refunds = sum(map(len, refunds.values()))
    summary.identity = identity.hear(summary.identity, [paid.note for _, paid in payments if paid.note is not None])
    return Folded(summary, _line_up(summary, subscriptions, charges), events)


def _line_up(
    summary: Summary, subscriptions: list[tuple[str, SubscriptionFact]], charges: Mapping[str, Fact]
) -> list[RosterPlace]:
    """Set in the summary what it holds of all subscriptions; returns their places."""
    stand = [standing_of(id_, fact, charged=is_charged(charges.get(id_), fact)) for id_, fact in subscriptions]
    placed = sorted(((place_of(standing), standing) for standing in stand), key=lambda one: one[0].order)
    summary.live = next((standing for place, standing in placed if place.rank < OTHERS), None)
    summary.rest = next((standing for place, standing in placed if place.rank == OTHERS), None)
    summary.active = sum(place.is_active for place, _ in placed)
    products = {place.product for place, _ in placed if place.product is not None}
    summary.products = sorted(products, key=product_order)[:MAX_PRODUCTS]
    return [place for place, _ in placed]


def told_sums(spent: Mapping[str, int]) -> dict[str, int | str]:
    """Sums as JSON holds them: as digits where they are larger than every reader keeps exact."""
    return {currency: minor if -MAX_MINOR <= minor <= MAX_MINOR else str(minor) for currency, minor in spent.items()}


def sums_of(told: Mapping[str, int | str]) -> dict[str, int]:
    """The same read again."""
    return {currency: int(minor) for currency, minor in told.items()}


def counted(payment: PaymentFact) -> int | None:
    """What a payment adds to what was spent, in minor units; None of nothing, and of a card update."""
    minor = payment.minor
    return minor if minor is not None and minor > 0 and not payment.is_card_update else None


def refunded(payment: PaymentFact, refunds: Iterable[RefundFact]) -> int | None:
    """How much of a payment is back, never more than it; None when nothing of it can be counted.

    A refund that is not partial is all that was left of the payment, whatever its own amount and currency: refunds
    go out at a new rate, and an amount may be missing. Any other one without an amount, or in another currency, is of
    unknown worth and does not count.
    """
    paid = counted(payment)
    if paid is None:
        return None
    total = None
    for minor, currency, _, is_partial, _ in refunds:
        if is_partial is False:
            return paid
        if minor is not None and minor >= 0 and currency is not None and currency == payment.currency:
            total = (total or 0) + minor
    return None if total is None else min(total, paid)


def _is_behind(known: Fact | None, ms: int, payment_id: str) -> bool:
    """Whether what is known is not later, by time, then by id."""
    return known is None or known[0] < ms or (known[0] == ms and known[1] <= payment_id)


def _is_ahead(known: Fact | None, ms: int, payment_id: str) -> bool:
    return known is None or known[0] > ms or (known[0] == ms and known[1] >= payment_id)
