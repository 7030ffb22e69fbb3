"""The values that a shaper gets and returns: a public API under semantic versioning.

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
"""Types that are not webhooks but identify a person too: an identify of a backfill, and the sums of a person who is
several customers. They have no event, and their body is empty or holds the customer."""


class Webhook(NamedTuple):
    """One webhook as it came.

    Args:
        type: Dodo's type, `payment.succeeded`; or one of `IDENTIFY_ONLY`.
        body: the whole body as sent, `data` and `timestamp` among its members; never modified in place.
        id: the `webhook-id` header, the same through retries and replays.
        event_ms: when it happened, unix milliseconds.
        received_ms: when ingest took it, unix milliseconds; None where unknown.
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
        origin: what the event's id is made of. For an event of the default mapping it is the canonical name, and the
            id stays that of the fact under any `name`. For an additional event it is any word that no other event of
            this webhook has; empty: the name itself, so that another name makes another event.
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
    """What is sent about the person: the attributes of the profile."""

    attributes: Attributes

    def having(self, **attributes: Any) -> Self:
        """The same with these attributes added or changed."""
        return self._replace(attributes={**self.attributes, **attributes})

    def without(self, *names: str) -> Self:
        """The same without these attributes, which stay at Customer.io as they are; None as a value removes one."""
        return self._replace(attributes={name: value for name, value in self.attributes.items() if name not in names})


class Shaped(NamedTuple):
    """What is sent for one webhook: by the default mapping, or as a shaper wants it.

    Args:
        identify: None sends nothing about the person.
        events: in their order.
        notes: what was changed, in words without values of the body, for `explain`.
    """

    identify: Identify | None
    events: tuple[Event, ...] = ()
    notes: tuple[str, ...] = ()


class KnownSubscription(NamedTuple):
    """The person's primary subscription: active before past_due, on_hold, paused and ended; of equals the newest.

    Args:
        id: its id.
        status: the current one, by all webhooks that are known.
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
        subscription: the primary one.
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
    """Changes what is sent for webhooks.

    A shaper is a pure function of its arguments: the same webhook comes again after a crash, a retry or a replay, and
    must become the same operations. It can rename, drop, add and change events and attributes. It cannot change who the
    person is, an id or a time, or the barrier before a person's first event, and it cannot send again what was sent.
    What it returns is checked before it is encoded, unless it has a true attribute `is_checked`: then it promises by
    itself that attributes are JSON and names are ones that events can have. A method `touches(type, events)`, if there
    is one, returns once and for all whether it may change webhooks of a type that emit some of these events: the
    pipeline never calls it for those that it does not touch.
    """

    @property
    def version(self) -> str:
        """Short hash of everything that its result depends on besides the webhook; a header of every operation."""

    @property
    def claims(self) -> frozenset[str]:
        """Types that it maps although the default mapping does not know them, or drops them."""

    def shape(self, webhook: Webhook, default: Shaped, know: Callable[[], Known]) -> Shaped:
        """What is sent for the webhook instead of `default`.

        Args:
            webhook: as it came.
            default: what the mapping makes of it. To return it as it is changes nothing, and costs least.
            know: returns what is known of the customer; the state is read only when it is called.

        Raises:
            ShapingError: the webhook cannot be mapped and becomes a dead letter. So does any other exception, of which
                the letter has the type and the place.
        """
