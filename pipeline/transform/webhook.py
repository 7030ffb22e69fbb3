"""A record of the webhooks' topic, read once: what every later step of a decision is given.

Other producers may feed the topic, so nothing is taken for granted: headers in any case or missing, a record without a
value, bytes that are no JSON. Each ends in a value; none stops the flow.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from pipeline.dodo.envelope import Envelope, parse, webhook_id_of
from pipeline.errors import UnreadableBodyError
from pipeline.kafka.fetched import UnreadableRecord
from pipeline.kafka.records import (
    DLQ_REPLAYS,
    DODO_COMMAND,
    DODO_MODE,
    DODO_TYPE,
    RECEIVED_AT,
    TRACEPARENT,
    WEBHOOK_ID,
    WEBHOOK_TIMESTAMP,
    Headers,
    Record,
    header,
    time_ms,
    whole,
)
from pipeline.transform.event_times import EventTimes, event_times_of
from pipeline.transform.fields import country, email, members, person_name, phone
from pipeline.transform.identity import customer_id_of
from pipeline.transform.paid import NO_PAYMENT, Paid, paid_of
from pipeline.transform.profile import Contact
from pipeline.transform.verdicts import DeadLettered, Delivery, Mode

MAX_ID_CHARS: Final = 255
"""What ingest lets in; the id goes on in a header of every operation, and must not push one over the topic's limit."""

PAYMENT: Final = "payment."
"""What the types of payments begin with."""

NO_VALUE: Final = DeadLettered("unreadable", "the record has no value: a tombstone is no webhook")
LONG_ID: Final = DeadLettered("unmappable", f"header {WEBHOOK_ID} is longer than {MAX_ID_CHARS} characters", WEBHOOK_ID)
NO_MODE: Final = DeadLettered("unmappable", f"header {DODO_MODE} is neither live nor test", DODO_MODE)

_READ: Final = (WEBHOOK_TIMESTAMP, DODO_MODE, RECEIVED_AT, DODO_COMMAND, DLQ_REPLAYS)
_PLAIN: Final = frozenset({*_READ, WEBHOOK_ID, DODO_TYPE, TRACEPARENT})
"""Names as this project writes them: a record with these alone, each once, is read by them as they stand."""


class Webhook:
    """One webhook, with all of it that is asked for again and again.

    Args:
        envelope: its body.
        delivery: how it arrived.
        record: what lies in the topic; None of a webhook that came from none.

    Attributes:
        times: when it happened, and when its body was read.
        customer: the body's customer object, empty when it has none.
        customer_id: the customer's id, wherever the body has it.
        contact: the customer's contact as the body has it.
        paid: what the body shows of a payment, where its type is about one.
    """

    __slots__ = ("contact", "customer", "customer_id", "delivery", "envelope", "paid", "record", "times")

    def __init__(self, envelope: Envelope, delivery: Delivery, record: Record | None = None) -> None:
        data = envelope.data
        self.envelope = envelope
        self.delivery = delivery
        self.record = record
        self.times: EventTimes = event_times_of(envelope.timestamp, delivery)
        self.customer: dict[str, Any] = members(data.get("customer"))
        self.customer_id = customer_id_of(self.customer, data)
        self.contact = contact_of(self.customer, data)
        self.paid: Paid = paid_of(data) if envelope.type.startswith(PAYMENT) else NO_PAYMENT


def contact_of(customer: Mapping[str, Any], data: Mapping[str, Any]) -> Contact:
    """The contact of the customer of a body, or of an object of Dodo's API; the country is the billing address's."""
    billing = data.get("billing")
    lives_in = country(billing.get("country")) if type(billing) is dict else None
    if not customer:
        return Contact(country=lives_in)
    get = customer.get
    return Contact(email(get("email")), person_name(get("name")), phone(get("phone_number")), lives_in)


class Command(NamedTuple):
    """A record with something to do about a customer's state, `name` is which (header `dodo-command`)."""

    name: str
    body: bytes
    webhook_id: str
    record: Record


class Unusable(NamedTuple):
    """A record that is neither, and the dead letter that it becomes; `type` is None when the body could not be read."""

    verdict: DeadLettered
    type: str | None
    webhook_id: str
    record: Record


Reading = Webhook | Command | Unusable


def read(record: Record) -> Reading:
    """What a record is; never raises for what it holds."""
    body, headers = record.value, record.headers
    if type(record) is UnreadableRecord:
        fault = DeadLettered("unreadable", record.fault)
        return Unusable(fault, None, webhook_id_of(headers, body or b""), record)
    if body is None:
        return Unusable(NO_VALUE, None, webhook_id_of(headers, b""), record)
    named = dict(headers)
    if len(named) != len(headers) or not _PLAIN.issuperset(named):
        named = _named(headers)
    told = named.get(WEBHOOK_ID)
    webhook_id = told.decode("utf-8", "replace") if told else webhook_id_of(headers, body)
    if command := named.get(DODO_COMMAND):
        return Command(command.decode("utf-8", "replace"), body, webhook_id, record)
    try:
        envelope = parse(body)
    except UnreadableBodyError as error:
        return Unusable(DeadLettered("unreadable", str(error)), None, webhook_id, record)
    if len(webhook_id) > MAX_ID_CHARS:
        return Unusable(LONG_ID, envelope.type, webhook_id, record)
    mode = _mode(named.get(DODO_MODE))
    if mode is None:
        return Unusable(NO_MODE, envelope.type, webhook_id, record)
    received_at_ms = whole(named.get(RECEIVED_AT))
    if received_at_ms is None and named.get(DLQ_REPLAYS) is None:
        # The time of a record that was put back is the time of the replay: taken for the reception, old data would look
        # new and overwrite what the profile learnt since.
        received_at_ms = time_ms(record)
    delivery = Delivery(webhook_id, whole(named.get(WEBHOOK_TIMESTAMP)), received_at_ms, mode)
    return Webhook(envelope, delivery, record)


def _named(headers: Headers) -> dict[str, bytes]:
    """The headers that are read here by their names, whatever their case; the id is looked for by its own rule."""
    return {name: value for name in _READ if (value := header(headers, name)) is not None}


def _mode(told: bytes | None) -> Mode | None:
    """The record's mode, live without the header; None when it is none: test data must never reach real people."""
    if not told or told == b"live":
        return "live"
    match told.decode("utf-8", "replace").strip().lower():
        case "live":
            return "live"
        case "test":
            return "test"
        case _:
            return None
