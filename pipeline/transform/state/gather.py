"""The facts of one webhook, or of one object that Dodo's API gave: read from the body, nothing looked up.

An API object has the fields that a webhook's `data` has, though a listed one may lack some. It is no event: what it
shows of a payment is that there was one, not that it was told.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple

from pipeline.dodo.envelope import Envelope
from pipeline.transform.event_times import EventTimes
from pipeline.transform.fields import country, elements, email, flag, members, person_name, phone, scalar, text, whole
from pipeline.transform.mapping.dispute import LOST
from pipeline.transform.mapping.payment import CARD, UNKNOWN_METHOD, subscription_ids
from pipeline.transform.mapping.periods import in_first_period, trial_end_ms
from pipeline.transform.mapping.subscription import IMPLIED
from pipeline.transform.money import ALPHABETIC, currency_code, minor_of
from pipeline.transform.policy import Policy
from pipeline.transform.profile import BILLING, ENDED
from pipeline.transform.state.facts import MAX_ID_BYTES, Fact, Kind, Source, short
from pipeline.transform.state.shape import MAX_GOODS, MAX_PERIODS
from pipeline.transform.state.turns import READ, SEEN, TURN_OF, Turn, read_as
from pipeline.transform.timestamps import iso, plausible_ms, to_ms
from pipeline.transform.webhook import Webhook

UNPAID: Final = frozenset({"payment.failed", "payment.processing", "payment.cancelled"})
"""Types that tell of a payment that a mail may ask for again."""

MAX_LINK_CHARS: Final = 500
"""A longer one is not kept: Customer.io takes 1000 bytes, and several lie in one fact."""

ApiObject = Literal["payment", "refund", "subscription", "customer"]


class Telling(NamedTuple):
    """One fact as it was told now; `ids` are the parts of its key."""

    kind: Kind
    ids: tuple[str, ...]
    fact: Fact


_NOTHING: Final[Mapping[str, list[Telling]]] = MappingProxyType({})


class Shown(NamedTuple):
    """What one webhook, or one object of the API, shows of a customer.

    `facts` has the payment, refund or subscription first. `contact` is email, name, phone and country, each None when
    nothing is said of it; `metadata` are the customer's that anybody may ask for. `if_told` is what is known besides
    once the event of that name went out.
    """

    times: EventTimes
    facts: list[Telling]
    contact: tuple[str | None, ...]
    metadata: dict[str, Any]
    if_told: Mapping[str, list[Telling]] = _NOTHING


def of_webhook(webhook: Webhook, policy: Policy) -> Shown:
    """What a webhook shows."""
    envelope, times = webhook.envelope, webhook.times
    data = envelope.data
    contact, metadata = _contact(webhook.customer, data, policy)
    told = _facts(envelope, times, webhook.delivery.webhook_id)
    if_told = _if_told(envelope.type, data, times)
    if policy.forward_card_hints and envelope.type == "payment.succeeded":
        told += _card(data, times.event_ms or 0)
    return Shown(times, told, contact, metadata, if_told)


def _if_told(type_: str, data: Mapping[str, Any], times: EventTimes) -> Mapping[str, list[Telling]]:
    """The events that say what another webhook must not say again: that a card was changed."""
    event_ms, method_id = times.event_ms or 0, text(data.get("payment_method_id"))
    match type_:
        case "subscription.update_payment_method":
            subscription_id = text(data.get("subscription_id"))
            ids = [] if subscription_id is None else [subscription_id]
            fact: Fact = [[event_ms, method_id, "subscription"]]
            return {"subscription_payment_method_updated": [Telling("replacement", (id_,), fact) for id_ in ids]}
        case "payment.succeeded":
            paid: Fact = [[event_ms, method_id, "payment"]]
            if not (ids := subscription_ids(data)[:MAX_PERIODS]):
                return _NOTHING
            return {"payment_method_updated": [Telling("replacement", (id_,), paid) for id_ in ids]}
    return _NOTHING


def _facts(envelope: Envelope, times: EventTimes, webhook_id: str) -> list[Telling]:
    type_, data = envelope.type, envelope.data
    if type_ == "payment.succeeded":
        return _payment(data, _time(envelope, times), "webhook")
    if type_ in UNPAID:
        return _unpaid(data, times)
    if type_.startswith("subscription."):
        return _subscription_webhook(type_, data, times, webhook_id)
    if type_ == "refund.succeeded":
        return _refund(data, _time(envelope, times), "webhook")
    if type_ in LOST:
        dispute_id = text(data.get("dispute_id"))
        return [] if dispute_id is None else [Telling("dispute", (dispute_id,), [_time(envelope, times), type_])]
    return []


def _time(envelope: Envelope, times: EventTimes) -> str:
    """The body's own time as sent, else that of the event."""
    sent_at = envelope.timestamp
    return sent_at if sent_at is not None and times.occurred_ms is not None else iso(times.event_ms or 0)


def of_api_object(
    object_: ApiObject, data: Mapping[str, Any], customer: Mapping[str, Any], read_at_s: int, policy: Policy
) -> Shown:
    """What an object of Dodo's API shows, as read at `read_at_s`; `customer` is the customer in it."""
    times = EventTimes(None, read_at_s * 1000, read_at_s)
    return Shown(times, _facts_of_object(object_, data, read_at_s), *_contact(customer, data, policy))


def nothing(at_s: int) -> Shown:
    """No news of the customer."""
    return Shown(EventTimes(None, at_s * 1000, at_s), [], (), {})


def _facts_of_object(object_: ApiObject, data: Mapping[str, Any], read_at_s: int) -> list[Telling]:
    """What did not succeed is no payment and no refund."""
    match object_:
        case "payment" | "refund":
            if (text(data.get("status")) or "").lower() != "succeeded":
                return []
            created_at = text(data.get("created_at"))
            usable = created_at is not None and plausible_ms(created_at) is not None
            time = created_at if usable and created_at is not None else iso(read_at_s * 1000)
            return _payment(data, time, "api") if object_ == "payment" else _refund(data, time, "api")
        case "subscription":
            return _subscription_object(data, read_at_s)
        case "customer":
            return []


def _contact(
    customer: Mapping[str, Any], data: Mapping[str, Any], policy: Policy
) -> tuple[tuple[str | None, ...], dict[str, Any]]:
    billing = data.get("billing")
    country_code = country(billing.get("country")) if type(billing) is dict else None
    if not customer:
        return (None, None, None, country_code), {}
    get = customer.get
    contact = (email(get("email")), person_name(get("name")), phone(get("phone_number")), country_code)
    keys = policy.kept_metadata
    if not keys:
        return contact, {}
    pairs = members(get("metadata"))
    return contact, {key: value for key in keys if (value := scalar(pairs.get(key))) is not None}


def _currency(value: Any) -> str | None:
    """A currency by its form; whatever else stands there names no sum."""
    return _code(value) if type(value) is str else None


@lru_cache(maxsize=256)
def _code(value: str) -> str | None:
    code = currency_code(value)
    return code if code is not None and ALPHABETIC.fullmatch(code) else None


def _payment(data: Mapping[str, Any], time: str, source: Source) -> list[Telling]:
    get = data.get
    payment_id = text(get("payment_id"))
    if payment_id is None:
        return []
    method = text(get("payment_method"))
    card_update = flag(get("is_update_payment_method")) is True
    paid_for = subscription_ids(data)
    fact: Fact = [
        minor_of(get("total_amount")),
        _currency(get("currency")),
        time,
        text(get("charge_type")),
        method if method != UNKNOWN_METHOD else None,
        card_update,
        source,
        _periods(data) if not card_update and get("service_periods") else [],
        None,
        _goods(data, paid_for),
    ]
    told = [Telling("payment", (payment_id,), fact)]
    return told + _charges(paid_for, payment_id, fact) if paid_for else told


def _charges(paid_for: list[str], payment_id: str, payment: Fact) -> list[Telling]:
    """What the payment says of each subscription that it was for: charged, or free."""
    minor, _, time, charge_type, _, card_update, *_ = payment
    if minor is None or minor < 0 or card_update:
        return []
    charge = [to_ms(time) or 0, payment_id, charge_type]
    fact: Fact = [[charge], []] if minor > 0 else [[], [charge]]
    return [Telling("charge", (subscription_id,), fact) for subscription_id in paid_for[:MAX_PERIODS]]


def _goods(data: Mapping[str, Any], paid_for: list[str]) -> Fact | None:
    """`[products, subscriptions]`: products as `[id, quantity]`, null when nothing is said of either."""
    products = []
    for element in elements(data.get("product_cart")):
        item = members(element)
        product_id, quantity = text(item.get("product_id")), whole(item.get("quantity"))
        if product_id is not None and len(product_id) <= MAX_ID_BYTES:
            products.append([product_id, quantity if quantity is not None and quantity >= 0 else None])
    subscriptions = [found for found in paid_for if len(found) <= MAX_ID_BYTES]
    return [products[:MAX_GOODS], subscriptions[:MAX_GOODS]] if products or subscriptions else None


def _unpaid(data: Mapping[str, Any], times: EventTimes) -> list[Telling]:
    """What a mail about a payment that was not paid wants to print."""
    payment_id = text(data.get("payment_id"))
    if payment_id is None or flag(data.get("is_update_payment_method")) is True:
        return []
    link = text(data.get("payment_link"))
    products, subscriptions = _goods(data, subscription_ids(data)) or [[], []]
    entry = [
        times.snapshot_s,
        times.occurred_ms or 0,
        short(payment_id),
        minor_of(data.get("total_amount")),
        _currency(data.get("currency")),
        products,
        subscriptions,
        link if link is not None and len(link) <= MAX_LINK_CHARS else None,
    ]
    return [Telling("unpaid", ("",), [entry])]


def _card(data: Mapping[str, Any], at_ms: int) -> list[Telling]:
    """The card that paid or was stored; a payment by other means tells that there is none. Only where it may go on."""
    payment_id = text(data.get("payment_id"))
    if payment_id is None:
        return []
    return [Telling("card", ("",), [at_ms, payment_id, *(text(data.get(name)) for name in CARD)])]


def _periods(data: Mapping[str, Any]) -> list[Fact]:
    """`[subscription, start (ms)]` of what the payment pays for."""
    found = []
    for element in elements(data.get("service_periods")):
        period = members(element)
        subscription_id, starts_ms = text(period.get("subscription_id")), to_ms(period.get("starts_at"))
        if subscription_id is not None and starts_ms is not None:
            found.append([subscription_id, starts_ms])
    return sorted(found)[:MAX_PERIODS]


def _refund(data: Mapping[str, Any], time: str, source: Source) -> list[Telling]:
    payment_id, refund_id = text(data.get("payment_id")), text(data.get("refund_id"))
    if payment_id is None or refund_id is None:
        return []
    minor, partial = minor_of(data.get("amount")), flag(data.get("is_partial"))
    return [Telling("refund", (payment_id, refund_id), [minor, _currency(data.get("currency")), time, partial, source])]


def _subscription_webhook(type_: str, data: Mapping[str, Any], times: EventTimes, webhook_id: str) -> list[Telling]:
    subscription_id = text(data.get("subscription_id"))
    if subscription_id is None:
        return []
    at_s, at_ms = times.snapshot_s, times.occurred_ms or 0
    status = _status(data, IMPLIED.get(type_))
    event_ms = times.event_ms or 0
    turn = TURN_OF.get(type_)
    if turn is None and (status == "active" or type_ in IMPLIED):
        turn = SEEN  # a renewal's type says so whatever its retry's body reads
    turns: list[Turn] = [] if turn is None else [[event_ms, turn]]
    if turn in ENDED and (cancelled_at := text(data.get("cancelled_at"))) is not None:
        turns[0].append(cancelled_at)
    told = _state(data, status, at_s, at_ms, turns)
    ids = (subscription_id,)
    if type_ == "subscription.active":
        told.append(Telling("activation", ids, [event_ms, webhook_id]))
    elif type_ == "subscription.updated" and status in BILLING:
        scheduled = flag(data.get("cancel_at_next_billing_date"))
        if scheduled is not None:
            told.append(Telling("cancellation", ids, [[at_s, at_ms, scheduled, webhook_id]]))
    return told


def _subscription_object(data: Mapping[str, Any], read_at_s: int) -> list[Telling]:
    """A subscription as read; a cancellation that is scheduled by now is known, and needs no telling later."""
    subscription_id = text(data.get("subscription_id"))
    if subscription_id is None:
        return []
    status = _status(data, None)
    read_ms = read_at_s * 1000
    turns = [[read_ms, READ]] if status == "active" else read_as(status or "", read_ms, read_ms)
    told = _state(data, status, read_at_s, 0, turns)
    if status in BILLING and flag(data.get("cancel_at_next_billing_date")) is True:
        told.append(Telling("cancellation", (subscription_id,), [[read_at_s, 0, True, ""]]))
    return told


def _status(data: Mapping[str, Any], implied: str | None) -> str | None:
    status = text(data.get("status"))
    return status.lower() if status is not None else implied


def _state(data: Mapping[str, Any], status: str | None, at_s: int, at_ms: int, turns: list[Turn]) -> list[Telling]:
    """The subscription's state; a body that does not say its status says nothing of it."""
    subscription_id = text(data.get("subscription_id"))
    if status is None or subscription_id is None:
        return []
    plan = [
        at_s,
        at_ms,
        text(data.get("product_id")),
        minor_of(data.get("recurring_pre_tax_amount")),
        _currency(data.get("currency")),
        text(data.get("payment_frequency_interval")),
        whole(data.get("payment_frequency_count")),
    ]
    fact: Fact = [
        at_s,
        at_ms,
        status,
        text(data.get("next_billing_date")),
        flag(data.get("cancel_at_next_billing_date")) is True,
        to_ms(data.get("created_at")) or 0,
        [plan],
        ends_ms if (ends_ms := trial_end_ms(data)) is not None and in_first_period(data) else None,
        text(data.get("cancelled_at")),
        turns,
        max(0, whole(data.get("trial_period_days")) or 0),
    ]
    return [Telling("subscription", (subscription_id,), fact)]
