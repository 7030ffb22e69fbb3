"""The values that a shaper is given and returns: a public API under semantic versioning.

All are tuples with names, since several are made for each webhook. Use the names: later versions add fields at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, Protocol, Self

from pipeline.errors import ShapingError

__all__ = [
    "IDENTIFY_ONLY",
    "Attributes",
    "Event",
    "Identify",
    "Known",
    "KnownSubscription",
    "Shaped",
    "Shaper",
    "ShapingError",
    "Webhook",
]

Attributes = Mapping[str, Any]
"""Names and JSON values; None removes an attribute from a profile. Never modified in place: others hold it as well."""

IDENTIFY_ONLY: frozenset[str] = frozenset({"backfill", "share"})
"""Types of what is no webhook but tells of a person all the same: an identify from a backfill, and the sums of a person
who is several customers. They have no event, and their body is empty or the customer's."""


class Webhook(NamedTuple):
    """One webhook as it came.

    Args:
        type: Dodo's type, `payment.succeeded`; or one of `IDENTIFY_ONLY`.
        body: the whole body as sent, `data` and `timestamp` among its members; never modified in place.
        id: the `webhook-id` header, the same through retries and replays.
        event_ms: when it happened, unix milliseconds.
        received_ms: when ingest took it, unix milliseconds; None where nothing tells.
        mode: of the endpoint whose secret it matched.
    """

    type: str
    body: Mapping[str, Any]
    id: str
    event_ms: int
    received_ms: int | None = None
    mode: Literal["live", "test"] = "live"

    @property
    def data(self) -> Mapping[str, Any]:
        """The body's object."""
        data = self.body.get("data")
        return data if type(data) is dict else {}


class Event(NamedTuple):
    """One event of the person.

    Args:
        name: as it goes out, 1 to 100 bytes.
        attributes: inside Customer.io's limits, or they are cut as the mapping's own are.
        origin: what the event's id is made of. Of an event of the default mapping its canonical name, and the id is
            that fact's for ever, whatever `name` says. Of an additional event any word that is its alone among this
            webhook's; empty: its name, so that renaming it makes another event.
    """

    name: str
    attributes: Attributes = MappingProxyType({})
    origin: str = ""

    def renamed(self, name: str) -> Self:
        """The same event under another name."""
        return self._replace(name=name, origin=self.origin or self.name)

    def having(self, **attributes: Any) -> Self:
        """The same event with these attributes added or changed."""
        return self._replace(attributes={**self.attributes, **attributes})

    def without(self, *names: str) -> Self:
        """The same event without these attributes."""
        return self._replace(attributes={name: value for name, value in self.attributes.items() if name not in names})


class Identify(NamedTuple):
    """What is told about the person: the attributes of the profile."""

    attributes: Attributes

    def having(self, **attributes: Any) -> Self:
        """The same with these attributes added or changed."""
        return self._replace(attributes={**self.attributes, **attributes})

    def without(self, *names: str) -> Self:
        """The same without these attributes, which stay at Customer.io as they are; None as a value removes one."""
        return self._replace(attributes={name: value for name, value in self.attributes.items() if name not in names})


class Shaped(NamedTuple):
    """What one webhook tells: as the default mapping has it, and as a shaper wants it.

    Args:
        identify: None tells nothing about the person.
        events: in their order.
        notes: what was done, in words without values of the body, for a person who looks (`explain`).
    """

    identify: Identify | None
    events: tuple[Event, ...] = ()
    notes: tuple[str, ...] = ()


class KnownSubscription(NamedTuple):
    """The subscription that speaks for the person: active before past_due, on_hold, paused and ended, then the newest.

    Args:
        id: its id.
        status: the one that holds by all that is known to have happened.
        product_id: its product.
        amount_minor: its price for a period, in minor units of `currency`.
        currency: ISO 4217 code.
        next_billing: as Dodo sent it.
        cancel_at_next_billing: it ends with the period.
    """

    id: str
    status: str | None
    product_id: str | None = None
    amount_minor: int | None = None
    currency: str | None = None
    next_billing: str | None = None
    cancel_at_next_billing: bool = False


class Known(NamedTuple):
    """What the state knows of the customer, this webhook included; all of it empty where the state is off.

    Args:
        is_known: whether there is a state to ask. Test-mode webhooks have none.
        spent_minor: payments less refunds by currency, in minor units: exact, never to be divided as floats.
        currency: that of the first payment.
        payment_count: payments of more than nothing.
        customer_since_ms: the first of them, unix milliseconds.
        has_lost_dispute: a dispute was lost or accepted.
        subscription: the one that speaks for the person.
        active_subscriptions: how many are active.
        email: the latest known.
        name: the latest known.
        country: ISO 3166-1 code, the latest known.
    """

    is_known: bool = False
    spent_minor: Mapping[str, int] = MappingProxyType({})
    currency: str | None = None
    payment_count: int = 0
    customer_since_ms: int | None = None
    has_lost_dispute: bool = False
    subscription: KnownSubscription | None = None
    active_subscriptions: int = 0
    email: str | None = None
    name: str | None = None
    country: str | None = None


class Shaper(Protocol):
    """Changes what webhooks tell.

    A shaper is a pure function of its arguments: the same webhook comes again after a crash, a retry or a replay, and
    must tell the same. It can rename, drop, add and change events and attributes. It cannot change who the person is,
    an id or a time, the barrier before a person's first event, nor say again what was told. What it returns is looked
    at before it is encoded, unless its attribute `is_checked` is there and true: then it vouches that it is JSON,
    under names that events can have. A method `touches(type, events)`, if it has one, says for good whether it may
    change webhooks of a type that tell some of these events: those that it does not touch are never shown to it.
    """

    @property
    def version(self) -> str:
        """Short hash of all that decides, a header of every operation."""

    @property
    def claims(self) -> frozenset[str]:
        """Types that it maps although the default mapping does not know them, or drops them."""

    def shape(self, webhook: Webhook, default: Shaped, know: Callable[[], Known]) -> Shaped:
        """What the webhook tells instead of `default`.

        Args:
            webhook: as it came.
            default: what the mapping makes of it. Returned as it is, nothing is changed and little is paid.
            know: what is known of the customer; worked out when it is asked for.

        Raises:
            ShapingError: it cannot be told; the webhook becomes a dead letter. Any other exception does the same, and
                is then named by its kind and place.
        """
