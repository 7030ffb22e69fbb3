"""Facts by the names of their fields: the arrays of the topic as tuples, made where a fact is read.

What is stored, merged and compared stays the array (`facts`), of whatever version wrote it. `of` takes any version's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Self

from pipeline.transform.customers import turns
from pipeline.transform.customers.facts import Fact, Source, in_this_form
from pipeline.transform.customers.turns import Turn
from pipeline.transform.profile import CardTeller

NO_WEBHOOK: Final = ""
"""No webhook has this id."""


@dataclass(slots=True, init=False)
class PaymentFact:
    """A payment that succeeded.

    Args:
        minor: what was charged.
        currency: of that.
        time: when it succeeded, as sent.
        charge_type: as sent.
        method: how it was paid.
        is_card_update: a card was stored, nothing bought.
        source: a webhook or a backfill (`facts.Source`).
        periods: `[subscription, start (ms)]` of what it pays for.
        note: what it confirms of the customer's identity (`identity.note_of`).
        goods: `[products, subscriptions]` it is for; None in a fact of an earlier version.
    """

    minor: int | None
    currency: str | None
    time: str
    charge_type: str | None
    method: str | None
    is_card_update: bool
    source: Source
    periods: list[Fact]
    note: Fact | None
    goods: Fact | None

    def __init__(  # noqa: PLR0917 - in the order of its fields
        self,
        minor: int | None,
        currency: str | None,
        time: str,
        charge_type: str | None,
        method: str | None,
        is_card_update: bool,
        source: Source,
        periods: list[Fact],
        note: Fact | None,
        goods: Fact | None = None,
    ) -> None:
        self.minor = minor
        self.currency = currency
        self.time = time
        self.charge_type = charge_type
        self.method = method
        self.is_card_update = is_card_update
        self.source = source
        self.periods = periods
        self.note = note
        self.goods = goods

    @staticmethod
    def of(fact: Fact) -> PaymentFact:
        """The payment in an array."""
        minor, currency, time, charge_type, method, is_card_update, source, periods, note = fact[:9]
        goods = fact[9] if len(fact) > 9 else None  # noqa: PLR2004 - its place
        return PaymentFact(minor, currency, time, charge_type, method, is_card_update, source, periods, note, goods)


class RefundFact(NamedTuple):
    """A refund that succeeded; `is_partial` is None where Dodo leaves it out."""

    minor: int | None
    currency: str | None
    time: str
    is_partial: bool | None
    source: Source

    @classmethod
    def of(cls, fact: Fact) -> Self:
        """The refund in an array."""
        return cls(*fact)


class SubscriptionPlan(NamedTuple):
    """What a subscription costs, and the moment at which that was seen last."""

    at_s: int
    at_ms: int
    product_id: str | None
    minor: int | None
    currency: str | None
    interval: str | None
    interval_count: int | None

    @property
    def terms(self) -> tuple[Any, ...]:
        """The plan without its moment."""
        return self[2:]

    @property
    def price(self) -> tuple[int | None, str | None, str | None, int | None]:
        """Minor units, currency, interval, intervals in a period."""
        return self[3:]


class SubscriptionFact(NamedTuple):
    """A subscription as it was read last, with the plans and turns of all readings.

    Args:
        at_s: when it was read, unix seconds.
        at_ms: when the event happened whose body it was, unix milliseconds.
        status: as read.
        next_billing: as sent.
        cancels: with the period.
        created_ms: unix milliseconds, 0 where that is not known.
        plans: the latest ones, the last one first.
        trial_ends_ms: end of the free trial it was seen in.
        cancelled_at: as sent.
        turns: what happened to it (`turns`).
        trial_days: 0 where there was no trial.
    """

    at_s: int
    at_ms: int
    status: str
    next_billing: str | None
    cancels: bool
    created_ms: int
    plans: list[SubscriptionPlan]
    trial_ends_ms: int | None
    cancelled_at: str | None
    turns: list[Turn]
    trial_days: int

    @classmethod
    def of(cls, fact: Fact) -> Self:
        """The subscription in an array."""
        at_s, at_ms, status, next_billing, cancels, created_ms, plans, *rest = in_this_form(fact)
        return cls(
            at_s, at_ms, status, next_billing, cancels, created_ms, [SubscriptionPlan(*plan) for plan in plans], *rest
        )

    @property
    def plan(self) -> SubscriptionPlan:
        """The one of now."""
        return self.plans[0]

    @property
    def standing(self) -> str:
        """The status that holds, by all that is known to have happened."""
        return turns.status_of(self.turns, self.status, self.at_ms)


class FlagSeen(NamedTuple):
    """One observation of whether a subscription is scheduled to end; read from the API it has no webhook and no event.

    `at_s` is when it was read, `at_ms` when the event happened.
    """

    at_s: int
    at_ms: int
    scheduled: bool
    webhook_id: str

    @property
    def is_read(self) -> bool:
        """Whether it was read from the API, by up to `turns.READING_MS` later than `at_s`."""
        return self.webhook_id == NO_WEBHOOK

    @property
    def seen_ms(self) -> int:
        """When the event happened that shows it; of what was read from the API, when that was."""
        return self.at_ms or self.at_s * 1000


class CardTold(NamedTuple):
    """An event about a changed card that was sent."""

    at_ms: int
    method_id: str | None
    by: CardTeller
