"""The facts of one webhook, or of one object that Dodo's API gave: read from the body, nothing looked up.

An API object has the fields that a webhook's `data` has, though a listed one may lack some. It is no event: what it
shows of a payment is that there was one, not that its event was sent. Both are read in one module, since the same facts
must come of both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final, Literal

from pipeline.dodo.envelope import Envelope
from pipeline.transform.customers.facts import MAX_ID_BYTES, Fact, Kind, Source, short
from pipeline.transform.customers.shape import MAX_GOODS, MAX_PERIODS
from pipeline.transform.customers.turns import READ, SEEN, TURN_OF, Turn, read_as
from pipeline.transform.event_times import EventTimes
from pipeline.transform.fields import elements, flag, members, scalar, text, whole
from pipeline.transform.mapping.dispute import LOST
from pipeline.transform.mapping.payment import CARD, UNKNOWN_METHOD
from pipeline.transform.mapping.periods import moved_trial_ms, seen_trial_ms
from pipeline.transform.mapping.subscription import IMPLIED
from pipeline.transform.money import ALPHABETIC, currency_code, minor_of
from pipeline.transform.paid import Paid, paid_of
from pipeline.transform.policy import Policy
from pipeline.transform.profile import BILLING, ENDED, Contact
from pipeline.transform.timestamps import iso, plausible_ms, to_ms
from pipeline.transform.webhook import Webhook, contact_of

UNPAID: Final = frozenset({"payment.failed", "payment.processing", "payment.cancelled"})
"""Types about a payment that a mail may ask for again."""

CARD_CHANGES: Final = frozenset({"subscription.update_payment_method", "payment.succeeded"})
"""Types that may show a changed card."""

MAX_LINK_CHARS: Final = 500
"""A longer one is not kept: Customer.io takes 1000 bytes, and several lie in one fact."""

ApiObject = Literal["payment", "refund", "subscription", "customer"]


@dataclass(slots=True, init=False)
class Observation:
    """One fact as it was seen now; `ids` are the parts of its key."""

    kind: Kind
    ids: tuple[str, ...]
    fact: Fact

    def __init__(self, kind: Kind, ids: tuple[str, ...], fact: Fact) -> None:
        self.kind = kind
        self.ids = ids
        self.fact = fact


_NOTHING: Final[Mapping[str, list[Observation]]] = MappingProxyType({})


@dataclass(slots=True, init=False)
class Observations:
    """What one webhook, or one object of the API, shows of a customer.

    `facts` has the payment, refund or subscription first. `contact` is email, name, phone and country, each None when
    it is not in the body; `metadata` are the customer's that anybody may ask for. `if_told` is what is known besides
    once the event of that name went out.
    """

    times: EventTimes
    facts: list[Observation]
    contact: Contact
    metadata: dict[str, Any]
    if_told: Mapping[str, list[Observation]]

    def __init__(
        self,
        times: EventTimes,
        facts: list[Observation],
        contact: Contact,
        metadata: dict[str, Any],
        if_told: Mapping[str, list[Observation]] | None = None,
    ) -> None:
        self.times = times
        self.facts = facts
        self.contact = contact
        self.metadata = metadata
        self.if_told = {} if if_told is None else if_told


def of_webhook(webhook: Webhook, policy: Policy) -> Observations:
    """What a webhook shows."""
    envelope, times = webhook.envelope, webhook.times
    data = envelope.data
    metadata = _metadata(webhook.customer, policy)
    told = _facts(webhook)
    if_told = _if_told(webhook)
    if policy.forward_card_hints and envelope.type == "payment.succeeded":
        told += _card(data, times.event_ms or 0)
    return Observations(times, told, webhook.contact, metadata, if_told)


def _if_told(webhook: Webhook) -> Mapping[str, list[Observation]]:
    """By event, what another webhook must not send again once that event is out: a changed card."""
    type_, data = webhook.envelope.type, webhook.envelope.data
    if type_ not in CARD_CHANGES or (type_ == "payment.succeeded" and not webhook.paid.subscriptions):
        return _NOTHING
    event_ms, method_id = webhook.times.event_ms or 0, text(data.get("payment_method_id"))
    match type_:
        case "subscription.update_payment_method":
            subscription_id = text(data.get("subscription_id"))
            ids = [] if subscription_id is None else [subscription_id]
            fact: Fact = [[event_ms, method_id, "subscription"]]
            return {"subscription_payment_method_updated": [Observation("replacement", (id_,), fact) for id_ in ids]}
        case "payment.succeeded":
            ids, paid = webhook.paid.subscriptions[:MAX_PERIODS], [[event_ms, method_id, "payment"]]
            return {"payment_method_updated": [Observation("replacement", (id_,), paid) for id_ in ids]}
    return _NOTHING


def _facts(webhook: Webhook) -> list[Observation]:
    envelope, times = webhook.envelope, webhook.times
    type_, data = envelope.type, envelope.data
    if type_ == "payment.succeeded":
        return _payment(data, webhook.paid, _time(envelope, times), "webhook")
    if type_ in UNPAID:
        return _unpaid(data, webhook.paid, times)
    if type_.startswith("subscription."):
        return _subscription_webhook(type_, data, times, webhook.delivery.webhook_id)
    if type_ == "refund.succeeded":
        return _refund(data, _time(envelope, times), "webhook")
    if type_ in LOST:
        dispute_id = text(data.get("dispute_id"))
        return [] if dispute_id is None else [Observation("dispute", (dispute_id,), [_time(envelope, times), type_])]
    return []


def _time(envelope: Envelope, times: EventTimes) -> str:
    """The body's own time as sent, else that of the event."""
    sent_at = envelope.timestamp
    return sent_at if sent_at is not None and times.occurred_ms is not None else iso(times.event_ms or 0)


def of_api_object(
    object_: ApiObject, data: Mapping[str, Any], customer: Mapping[str, Any], read_at_s: int, policy: Policy
) -> Observations:
    """What an object of Dodo's API shows, as read at `read_at_s`; `customer` is the customer in it."""
    times = EventTimes(None, read_at_s * 1000, read_at_s)
    told = _facts_of_object(object_, data, read_at_s)
    return Observations(times, told, contact_of(customer, data), _metadata(customer, policy))


def nothing(at_s: int) -> Observations:
    """No news of the customer."""
    return Observations(EventTimes(None, at_s * 1000, at_s), [], Contact(), {})


def _facts_of_object(object_: ApiObject, data: Mapping[str, Any], read_at_s: int) -> list[Observation]:
    """What did not succeed is no payment and no refund."""
    match object_:
        case "payment" | "refund":
            if (text(data.get("status")) or "").lower() != "succeeded":
                return []
            created_at = text(data.get("created_at"))
            usable = created_at is not None and plausible_ms(created_at) is not None
            time = created_at if usable and created_at is not None else iso(read_at_s * 1000)
            return _payment(data, paid_of(data), time, "api") if object_ == "payment" else _refund(data, time, "api")
        case "subscription":
            return _subscription_object(data, read_at_s)
        case "customer":
            return []


def _metadata(customer: Mapping[str, Any], policy: Policy) -> dict[str, Any]:
    keys = policy.kept_metadata
    if not keys:
        return {}
    pairs = members(customer.get("metadata"))
    return {key: value for key in keys if (value := scalar(pairs.get(key))) is not None}


def _currency(value: Any) -> str | None:
    """A currency by its form; whatever else stands there names no sum."""
    return _code(value) if type(value) is str else None


@lru_cache(maxsize=256)
def _code(value: str) -> str | None:
    code = currency_code(value)
    return code if code is not None and ALPHABETIC.fullmatch(code) else None


def _payment(data: Mapping[str, Any], paid: Paid, time: str, source: Source) -> list[Observation]:
    get = data.get
    payment_id = text(get("payment_id"))
    if payment_id is None:
        return []
    method, card_update = paid.method, paid.is_card_update
    fact: Fact = [
        paid.minor,
        _currency(get("currency")),
        time,
        text(get("charge_type")),
        method if method != UNKNOWN_METHOD else None,
        card_update,
        source,
        _periods(data) if not card_update and get("service_periods") else [],
        None,
        _goods(paid),
    ]
    told = [Observation("payment", (payment_id,), fact)]
    return told + _charges(paid.subscriptions, payment_id, fact) if paid.subscriptions else told


def _charges(paid_for: list[str], payment_id: str, payment: Fact) -> list[Observation]:
    """What the payment was for each subscription that it names: a charge, or free."""
    minor, _, time, charge_type, _, card_update, *_ = payment
    if minor is None or minor < 0 or card_update:
        return []
    charge = [to_ms(time) or 0, payment_id, charge_type]
    fact: Fact = [[charge], []] if minor > 0 else [[], [charge]]
    return [Observation("charge", (subscription_id,), fact) for subscription_id in paid_for[:MAX_PERIODS]]


def _goods(paid: Paid) -> Fact | None:
    """`[products, subscriptions]`: products as `[id, quantity]`, None when the body has neither."""
    products = [[*item] for item in paid.cart if len(item[0]) <= MAX_ID_BYTES]
    subscriptions = [found for found in paid.subscriptions if len(found) <= MAX_ID_BYTES]
    return [products[:MAX_GOODS], subscriptions[:MAX_GOODS]] if products or subscriptions else None


def _unpaid(data: Mapping[str, Any], paid: Paid, times: EventTimes) -> list[Observation]:
    """What a mail about a payment that was not paid wants to print."""
    payment_id = text(data.get("payment_id"))
    if payment_id is None or paid.is_card_update:
        return []
    link = text(data.get("payment_link"))
    products, subscriptions = _goods(paid) or [[], []]
    entry = [
        times.snapshot_s,
        times.occurred_ms or 0,
        short(payment_id),
        paid.minor,
        _currency(data.get("currency")),
        products,
        subscriptions,
        link if link is not None and len(link) <= MAX_LINK_CHARS else None,
    ]
    return [Observation("unpaid", ("",), [entry])]


def _card(data: Mapping[str, Any], at_ms: int) -> list[Observation]:
    """The card that paid or was stored; a payment by other means shows that there is none. If it may be sent at all."""
    payment_id = text(data.get("payment_id"))
    if payment_id is None:
        return []
    return [Observation("card", ("",), [at_ms, payment_id, *(text(data.get(name)) for name in CARD)])]


def _periods(data: Mapping[str, Any]) -> list[Fact]:
    """`[subscription, start (ms)]` of what the payment pays for."""
    found = []
    for element in elements(data.get("service_periods")):
        period = members(element)
        subscription_id, starts_ms = text(period.get("subscription_id")), to_ms(period.get("starts_at"))
        if subscription_id is not None and starts_ms is not None:
            found.append([subscription_id, starts_ms])
    return sorted(found)[:MAX_PERIODS]


def _refund(data: Mapping[str, Any], time: str, source: Source) -> list[Observation]:
    payment_id, refund_id = text(data.get("payment_id")), text(data.get("refund_id"))
    if payment_id is None or refund_id is None:
        return []
    minor, partial = minor_of(data.get("amount")), flag(data.get("is_partial"))
    return [
        Observation("refund", (payment_id, refund_id), [minor, _currency(data.get("currency")), time, partial, source])
    ]


def _subscription_webhook(type_: str, data: Mapping[str, Any], times: EventTimes, webhook_id: str) -> list[Observation]:
    subscription_id = text(data.get("subscription_id"))
    if subscription_id is None:
        return []
    at_s, at_ms = times.snapshot_s, times.occurred_ms or 0
    status = _status(data, IMPLIED.get(type_))
    event_ms = times.event_ms or 0
    turn = TURN_OF.get(type_)
    if turn is None and (status == "active" or (type_ in IMPLIED and status != "paused")):
        turn = SEEN  # a renewal's type shows it, whatever its retry's body has; but a pause may be charged for as well
    turns: list[Turn] = [] if turn is None else [[event_ms, turn]]
    if status in ENDED and turn not in ENDED:
        # Its type shows another moment; that of the end is not known, but it lay before the body was read.
        turns.append([max(event_ms, at_s * 1000), status])
    if turns and turns[-1][1] in ENDED and (cancelled_at := text(data.get("cancelled_at"))) is not None:
        turns[-1].append(cancelled_at)
    told = _state(data, status, at_s, at_ms, turns)
    ids = (subscription_id,)
    if type_ == "subscription.plan_changed":
        told.append(Observation("change", ids, [[at_s, event_ms, *_terms(data)]]))
    elif type_ == "subscription.active":
        told.append(Observation("activation", ids, [event_ms, webhook_id]))
    elif type_ == "subscription.updated" and status in BILLING:
        scheduled = flag(data.get("cancel_at_next_billing_date"))
        if scheduled is not None:
            told.append(Observation("cancellation", ids, [[at_s, at_ms, scheduled, webhook_id]]))
    return told


def _subscription_object(data: Mapping[str, Any], read_at_s: int) -> list[Observation]:
    """A subscription as read; a cancellation that is scheduled by now is known, and later webhooks need not tell it."""
    subscription_id = text(data.get("subscription_id"))
    if subscription_id is None:
        return []
    status = _status(data, None)
    read_ms = read_at_s * 1000
    turns = [[read_ms, READ]] if status == "active" else read_as(status or "", read_ms, read_ms)
    told = _state(data, status, read_at_s, 0, turns)
    if status in BILLING and flag(data.get("cancel_at_next_billing_date")) is True:
        told.append(Observation("cancellation", (subscription_id,), [[read_at_s, 0, True, ""]]))
    return told


def _status(data: Mapping[str, Any], implied: str | None) -> str | None:
    status = text(data.get("status"))
    return status.lower() if status is not None else implied


def _terms(data: Mapping[str, Any]) -> list[Any]:
    """The plan: product, price, currency, interval, intervals in a period."""
    return [
        text(data.get("product_id")),
        minor_of(data.get("recurring_pre_tax_amount")),
        _currency(data.get("currency")),
        text(data.get("payment_frequency_interval")),
        whole(data.get("payment_frequency_count")),
    ]


def _state(data: Mapping[str, Any], status: str | None, at_s: int, at_ms: int, turns: list[Turn]) -> list[Observation]:
    """The subscription's state; nothing where the body has no status."""
    subscription_id = text(data.get("subscription_id"))
    if status is None or subscription_id is None:
        return []
    fact: Fact = [
        at_s,
        at_ms,
        status,
        text(data.get("next_billing_date")),
        flag(data.get("cancel_at_next_billing_date")) is True,
        to_ms(data.get("created_at")) or 0,
        [[at_s, at_ms, *_terms(data)]],
        seen_trial_ms(data, at_s * 1000),
        text(data.get("cancelled_at")),
        turns,
        max(0, whole(data.get("trial_period_days")) or 0),
    ]
    told = [Observation("subscription", (subscription_id,), fact)]
    if (moved_ms := moved_trial_ms(data)) is not None:
        told.append(Observation("trial", (subscription_id,), [[moved_ms, at_s]]))
    return told
