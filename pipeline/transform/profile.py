"""What the mapping may ask about a customer: the seam through which the state plugs in, as one argument.

Two halves: `PersonProfile` is what a person has, which an identify sets; `History` is what one webhook asks of the
past. A person who is several customers has the first alone.

`None` in place of a profile means that nothing is known, and each rule then decides by the body alone (with a warning
where the state would know better). A profile answers for two moments:

- *with this webhook*: whatever only grows (payments, refunds, activations, contact), this webhook's own facts already
  merged in. Merging twice changes nothing, so a redelivery gives the same answers.
- *before this webhook*: `before`, `cancellation_shown_by`, `identity`, `identified`, `card_told` and `emitted`, since a
  transition is recognised by what was there earlier.

Test-mode webhooks are mapped without a profile.

It is long since it is the whole interface between mapping and state: values and protocols, and no logic.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, Protocol

from pipeline.customerio.operations import Identifier

BILLING: Final = frozenset({"active", "past_due", "on_hold"})
"""Statuses in which the next billing date is meant."""

ENDED: Final = frozenset({"cancelled", "expired", "failed"})

RANK: Final = {"active": 0, "past_due": 1, "on_hold": 2, "paused": 3}
"""Which subscription speaks for a person that has several; whatever is not here has ended or not begun."""


@dataclass(slots=True, init=False)
class Person:
    """Who a webhook's operations go to at Customer.io.

    Args:
        id: the identifier's value, 1 to 150 bytes.
        step: the step of the identity policy that gave it; None when no step did and the customer's id stood in.
        settles: whether the customer is this person from now on. A body that names the customer by id alone settles
            nothing.
    """

    id: str
    step: str | None
    settles: bool

    def __init__(self, id: str, step: str | None, settles: bool = True) -> None:  # noqa: A002 - the field's name
        self.id = id
        self.step = step
        self.settles = settles


@dataclass(slots=True, init=False)
class Addressed:
    """Whom operations about a customer went to so far.

    Args:
        id: the identifier's value.
        identifier: which identifier it is.
        stood_in: it was the customer's own id, in place of a person who was not known yet.
    """

    id: str
    identifier: Identifier
    stood_in: bool

    def __init__(self, id: str, identifier: Identifier, stood_in: bool = False) -> None:  # noqa: A002 - the field's name
        self.id = id
        self.identifier = identifier
        self.stood_in = stood_in


class Contact(NamedTuple):
    """The latest known of each, by delivery time."""

    email: str | None = None
    name: str | None = None
    phone: str | None = None
    country: str | None = None


class Activation(NamedTuple):
    """The first `subscription.active` of a subscription."""

    webhook_id: str
    at_ms: int


class Payment(NamedTuple):
    """A succeeded payment; `products` are `[id, quantity]`, of a purchase, `subscriptions` what else it is for."""

    minor: int
    currency: str | None
    charge_type: str | None
    products: Sequence[Sequence[Any]] = ()
    subscriptions: Sequence[str] = ()
    payment_id: str = ""


class Charge(NamedTuple):
    """A payment as one of a subscription's: when it succeeded, unix milliseconds."""

    at_ms: int
    payment_id: str
    charge_type: str | None


class Course(NamedTuple):
    """How a subscription began: what its trial is recognised by.

    `created_at_ms` and `trial_days` are 0 where they are not known; `paid` and `free` are the earliest known charges of
    more than nothing and of nothing, the first one first. `seen_ms` is of when its plan was seen last, `lapses` of when
    charges failed. `moved` are ends of its trial that it was seen with, other than its days make, the last
    seen one last.
    """

    created_at_ms: int = 0
    trial_days: int = 0
    paid: Sequence[Charge] = ()
    free: Sequence[Charge] = ()
    seen_ms: int = 0
    lapses: Sequence[int] = ()
    moved: Sequence[int] = ()


class Recovery(NamedTuple):
    """A lapse of a subscription (on_hold, past_due, paused) that is over, all in unix milliseconds.

    Args:
        lapsed_ms: when it began; of several in a row the last.
        at_ms: when the subscription went on, as near as it is known.
        shown_ms: when it is known to have gone on: a lapse of a later time is another one.
        of_pause: it was a pause; of several in a row the last one was.
    """

    lapsed_ms: int
    at_ms: int
    shown_ms: int
    of_pause: bool = False


CardTeller = Literal["payment", "subscription"]
"""Which of the two webhooks about a changed card."""


class Unpaid(NamedTuple):
    """A payment that failed, was left or is under way, as it was seen last.

    `at_ms` is when that happened, unix milliseconds, `link` where it can still be paid.
    """

    at_ms: int
    payment_id: str
    minor: int | None
    currency: str | None
    products: Sequence[Sequence[Any]]
    subscriptions: Sequence[str]
    link: str | None


class Card(NamedTuple):
    """The card that paid last or was stored last, each field as sent, None where a payment had none."""

    network: str | None
    last_four: str | None
    exp_month: str | None
    exp_year: str | None


class Refunded(NamedTuple):
    """What was paid back of one payment so far, capped at it."""

    minor: int
    currency: str | None
    fully: bool


@dataclass(frozen=True, slots=True)
class Subscription:
    """A subscription's latest state by delivery time.

    `status` is the one that holds by all that is known to have happened, whatever was read last. `trial_ends_ms` is the
    end of the free trial in which it was seen last, None outside one and after the first charge above 0.
    """

    subscription_id: str
    status: str | None
    product_id: str | None = None
    minor: int | None = None
    currency: str | None = None
    interval: str | None = None
    interval_count: int | None = None
    next_billing: str | None = None
    cancel_at_next_billing: bool = False
    created_at_ms: int = 0
    trial_ends_ms: int | None = None
    cancelled_at: str | None = None


class Active(NamedTuple):
    """How many subscriptions are active, and the ids of their products, in their order and each once.

    Of a person with more products than an attribute at Customer.io can hold, the first ones and one that does not fit.
    """

    subscriptions: int = 0
    product_ids: Sequence[str] = ()


@dataclass(slots=True, init=False)
class Spending:
    """Sums over the customer's counted payments less their refunds: no zero payments, no card updates.

    `minor` is by currency code, `currency` that of the first payment; dates are texts as sent, and once more in unix
    milliseconds where they are known so. `payment_method` is that of the last payment that has one, whatever it was
    for.
    """

    minor: Mapping[str, int]
    currency: str | None
    payment_count: int
    last_payment_date: str | None
    payment_method: str | None
    customer_since: str | None
    last_payment_ms: int | None
    customer_since_ms: int | None

    def __init__(  # noqa: PLR0917 - in the order of its fields
        self,
        minor: Mapping[str, int] | None = None,
        currency: str | None = None,
        payment_count: int = 0,
        last_payment_date: str | None = None,
        payment_method: str | None = None,
        customer_since: str | None = None,
        last_payment_ms: int | None = None,
        customer_since_ms: int | None = None,
    ) -> None:
        self.minor = {} if minor is None else minor
        self.currency = currency
        self.payment_count = payment_count
        self.last_payment_date = last_payment_date
        self.payment_method = payment_method
        self.customer_since = customer_since
        self.last_payment_ms = last_payment_ms
        self.customer_since_ms = customer_since_ms


class PersonProfile(Protocol):
    """What a person has: one customer as the state knows them, or several who are one person."""

    @property
    def person(self) -> Person | None:
        """Who the customer became at the first hit of the identity policy, for good; None before it."""

    @property
    def identity(self) -> bytes | None:
        """Digest of the identify that was last sent (`Operations.identity`); None: never identified."""

    @property
    def identified(self) -> str | None:
        """The id of the person whom that identify was of; None when it is not known."""

    @property
    def addressed(self) -> Addressed | None:
        """Whom the customer's operations went to, before this webhook; None: there were none, or it is not known."""

    @property
    def contact(self) -> Contact:
        """With this webhook."""

    @property
    def metadata(self) -> Mapping[str, Any]:
        """The customer's metadata, with this webhook."""

    @property
    def delivered_at_s(self) -> int:
        """The time that this webhook's identify carries, unix seconds.

        The latest delivery time of what the profile was built from, with this webhook, and later than that of any
        identify before: of two with one time Customer.io may take either.
        """

    @property
    def spending(self) -> Spending:
        """With this webhook."""

    @property
    def has_lost_dispute(self) -> bool:
        """With this webhook."""

    @property
    def card(self) -> Card | None:
        """With this webhook; None where cards may not go on, or nothing was paid."""

    @property
    def speaking(self) -> Subscription | None:
        """The subscription that speaks for the person (`best`), with this webhook; None: there is none."""

    @property
    def active(self) -> Active:
        """With this webhook."""


class History(Protocol):
    """What one webhook asks of its customer's past: single subscriptions, payments and events, and what was emitted."""

    @property
    def began_at_ms(self) -> int:
        """When the state began to collect the customer's facts: earlier activations may be missing from it."""

    def subscription(self, subscription_id: str) -> Subscription | None:
        """A subscription that goes on, or of the others the newest, with this webhook; None: it is none of these."""

    @property
    def subscribed_since_ms(self) -> int | None:
        """When the oldest of these subscriptions was created, of those whose time is known, unix milliseconds."""

    def before(self, subscription_id: str) -> Subscription | None:
        """The subscription before this webhook; its plan is the last one that differs from this webhook's, which a
        neighbour may have shown first, unless an earlier change of plan is known to have left that.
        """  # noqa: D205 - one sentence

    def cancellation_shown_by(self, subscription_id: str) -> str | None:
        """The webhook-id that first showed the cancellation now scheduled, before this webhook; None: none is.

        Asked by a webhook that is older than what is known it answers so that nothing is emitted: what came later
        stands. What Dodo's API showed may have been scheduled after the time of the reading: a webhook that shows the
        flag is before or after it as the smaller error needs (`customers.cancelling`).
        """

    def first_activation(self, subscription_id: str) -> Activation | None:
        """The earliest known activation, with this webhook."""

    def lapsed_before(self, subscription_id: str, at_ms: int) -> bool:
        """Whether a lapse (on_hold, past_due, paused) happened before that time, whenever its webhook came."""

    def recoveries(self, subscription_id: str) -> Sequence[Recovery]:
        """The lapses that are over by what is known with this webhook, and for which no event was emitted before it."""

    def pause_answered(self, subscription_id: str, at_ms: int) -> bool:
        """Whether the pause that a `subscription.unpaused` of that time ends was answered by another webhook before."""

    def course(self, subscription_id: str) -> Course:
        """With this webhook."""

    def card_told(self, subscription_id: str, method_id: str | None, at_ms: int, by: CardTeller) -> bool:
        """Whether that webhook has emitted the change of card that happened at about that time, before this one."""

    def payment(self, payment_id: str) -> Payment | None:
        """With this webhook."""

    def is_first_payment(self, payment_id: str) -> bool:
        """Whether it is the customer's first payment of more than nothing, of those known with this webhook."""

    @property
    def unpaid(self) -> Sequence[Unpaid]:
        """The last payments that were not paid when they were seen last, the latest first, with this webhook."""

    def payment_of_period(self, subscription_id: str, starts_at_ms: int, tolerance_ms: int) -> Payment | None:
        """The payment whose service period for this subscription starts at that time, with this webhook."""

    def refunded(self, payment_id: str) -> Refunded | None:
        """With this webhook; None when the payment is not known or nothing of it can be counted."""

    def refunded_otherwise(self, payment_id: str) -> bool:
        """Whether a refund of this payment, known with this webhook, may be partial and is in another currency."""

    @property
    def stands_for_event(self) -> bool:
        """Whether this webhook has a payment or refund, which stands for its event: `emitted` answers by that alone,
        the same for every id.
        """  # noqa: D205 - one sentence

    def emitted(self, event_id: str, *, beside: bool = False) -> bool:
        """Whether the event with this id is out, before this webhook: by the same webhook or another of the fact.

        A payment or refund of an earlier webhook stands for its own event, not for one that is emitted `beside` it.
        """


class Profile(PersonProfile, History, Protocol):
    """One customer as the state knows them, at one webhook."""


def best(subscriptions: Iterable[Subscription]) -> Subscription | None:
    """The subscription that speaks for the person: active > past_due > on_hold > paused > ended, then the newest."""
    return min(
        subscriptions,
        key=lambda s: (RANK.get(s.status or "", len(RANK)), -s.created_at_ms, s.subscription_id),
        default=None,
    )
