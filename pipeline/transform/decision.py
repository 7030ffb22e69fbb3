"""From a consumed record to a verdict, for whatever lies in the topic.

Other producers may feed the topic, so nothing is taken for granted: headers in any case or missing, a record without a
value, bytes that are no JSON, a body that this version cannot map. Each has its verdict; none stops the flow.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from pipeline.dodo.envelope import Envelope, parse, webhook_id_of
from pipeline.errors import UnreadableBodyError
from pipeline.kafka.fetched import UnreadableRecord
from pipeline.kafka.records import (
    DLQ_REPLAYS,
    DODO_COMMAND,
    DODO_MODE,
    RECEIVED_AT,
    WEBHOOK_ID,
    WEBHOOK_TIMESTAMP,
    Record,
    header,
    int_header,
    text_header,
    time_ms,
)
from pipeline.statestore.draft import Draft, is_the_process_s
from pipeline.statestore.store import KeyValueStore as Shelf
from pipeline.transform.failures import where
from pipeline.transform.fields import members
from pipeline.transform.identity import customer_id_of
from pipeline.transform.mode import mode_of
from pipeline.transform.policy import Policy
from pipeline.transform.profile import Profile
from pipeline.transform.state.book import Book
from pipeline.transform.state.commands import FORGOTTEN, obey
from pipeline.transform.state.facts import customer_key
from pipeline.transform.state.gather import of_webhook
from pipeline.transform.state.ownership import elsewhere
from pipeline.transform.state.shares import Commands, shares_of
from pipeline.transform.verdicts import DeadLettered, Decided, Delivery, Dropped, Operations, Verdict

MAX_ID_CHARS: Final = 255
"""What ingest lets in; the id goes on in a header of every operation, and must not push one over the topic's limit."""

MapWebhook = Callable[[Envelope, Delivery, Policy, Profile | None], Verdict]

NO_VALUE: Final = DeadLettered("unreadable", "the record has no value: a tombstone is no webhook")
NO_STATE: Final = DeadLettered(
    "unmappable", "a command about a customer's state, and the state is off (PIPELINE_STATE)", DODO_COMMAND
)
NO_COMMANDS: Final = DeadLettered(
    "unmappable", "a command about a customer's state, and commands are switched off (PIPELINE_COMMANDS)", DODO_COMMAND
)
NO_CUSTOMER: Final = DeadLettered(
    "unmappable",
    "the body names no customer, by an id of at most 255 bytes: without one nothing is known of whose it is",
    "customer",
)
LONG_ID: Final = DeadLettered("unmappable", f"header {WEBHOOK_ID} is longer than {MAX_ID_CHARS} characters", WEBHOOK_ID)
NO_MODE: Final = DeadLettered("unmappable", f"header {DODO_MODE} is neither live nor test", DODO_MODE)


class Decision(NamedTuple):
    """What becomes of one record; `type` is None when the body could not be read."""

    verdict: Decided
    type: str | None
    webhook_id: str
    commands: Commands = ()
    """What the owners of people must learn, records for the webhooks topic; only where customers can be one person."""

    whose: bytes | None = None
    """Whose state remembers the identify as told."""


def decide(record: Record, policy: Policy, map_webhook: MapWebhook, shelf: Shelf | None = None) -> Decision:
    """The decision about `record`; never raises for what the record holds, as `map_webhook` does not.

    With the `shelf` of the record's partition the customer's state decides, and what the record shows is put on it:
    for operations and for a webhook that has nothing to say; never for a dead letter, whose replay must be told. A
    record about a customer whose facts lie elsewhere is sent on. The shelf's own errors are raised.
    """
    body = record.value
    if type(record) is UnreadableRecord:
        return Decision(DeadLettered("unreadable", record.fault), None, webhook_id_of(record.headers, body or b""))
    if body is None:
        return Decision(NO_VALUE, None, webhook_id_of(record.headers, b""))
    webhook_id = webhook_id_of(record.headers, body)
    if (command := text_header(record.headers, DODO_COMMAND)) is not None:
        if not policy.commands:
            return Decision(NO_COMMANDS, f"command.{command}", webhook_id)
        if shelf is None:
            return Decision(NO_STATE, f"command.{command}", webhook_id)
        carried = obey(command, body, webhook_id, policy, shelf, at_ms=time_ms(record) or 0, headers=record.headers)
        return Decision(carried.verdict, f"command.{command}", webhook_id, carried.commands, carried.whose)
    try:
        envelope = parse(body)
    except UnreadableBodyError as error:
        return Decision(DeadLettered("unreadable", str(error)), None, webhook_id)
    if len(webhook_id) > MAX_ID_CHARS:
        return Decision(LONG_ID, envelope.type, webhook_id)
    mode = mode_of(record.headers)
    if mode is None:
        return Decision(NO_MODE, envelope.type, webhook_id)
    delivery = Delivery(
        webhook_id=webhook_id,
        attempt_at_s=int_header(record.headers, WEBHOOK_TIMESTAMP),
        received_at_ms=_received_at_ms(record),
        mode=mode,
    )
    if shelf is None or mode == "test":
        return Decision(map_webhook(envelope, delivery, policy, None), envelope.type, webhook_id)
    data = envelope.data
    customer_id = customer_id_of(members(data.get("customer")), data)
    customer = customer_key(customer_id)
    if customer is None or customer_id is None:
        return Decision(_of_nobody(map_webhook(envelope, delivery, policy, None)), envelope.type, webhook_id)
    if (away := elsewhere(shelf.ownership, customer, record.headers)) is not None:
        return Decision(away, envelope.type, webhook_id)
    who = _Who(customer_id, customer, Draft(shelf), time_ms(record) or 0)
    verdict, commands = _with_state(envelope, delivery, policy, map_webhook, who)
    return Decision(verdict, envelope.type, webhook_id, commands, customer)


def _of_nobody(verdict: Verdict) -> Verdict:
    return NO_CUSTOMER if isinstance(verdict, Operations) else verdict


class _Who(NamedTuple):
    """A customer at one record: `customer` is their part of keys, `at_ms` the record's time in its topic."""

    customer_id: str
    customer: bytes
    draft: Draft
    at_ms: int


def _with_state(
    envelope: Envelope,
    delivery: Delivery,
    policy: Policy,
    map_webhook: MapWebhook,
    who: _Who,
) -> tuple[Verdict, Commands]:
    """The verdict with the customer's state; all or nothing of the record is left behind."""
    try:
        verdict, commands = _judged(envelope, delivery, policy, map_webhook, who)
    except Exception as error:
        if is_the_process_s(error):
            raise
        return DeadLettered("unmappable", f"the state failed on this body ({where(error)}): a bug to report"), ()
    who.draft.commit()
    return verdict, commands


def _judged(
    envelope: Envelope, delivery: Delivery, policy: Policy, map_webhook: MapWebhook, who: _Who
) -> tuple[Verdict, Commands]:
    customer_id, customer, draft, at_ms = who
    shown = of_webhook(envelope, delivery, policy)
    book = Book(draft, customer, shown)
    if (shown.moments.event_ms or 0) < book.forgotten_s * 1000:
        return FORGOTTEN, ()
    verdict = map_webhook(envelope, delivery, policy, book)
    match verdict:
        case Operations():
            book.settle(verdict)
            if policy.pools:
                return verdict, shares_of(draft, customer_id, customer, book, verdict, at_ms=at_ms, policy=policy)
        case Dropped(reason="no-change"):
            book.settle(None)
    return verdict, ()


def _received_at_ms(record: Record) -> int | None:
    """When the webhook arrived, unix ms: the header, else the record's own time.

    The time of a record that was put back is the time of the replay: taken for the reception, old data would look new
    and overwrite what the profile learnt since.
    """
    received_at_ms = int_header(record.headers, RECEIVED_AT)
    if received_at_ms is None and header(record.headers, DLQ_REPLAYS) is None:
        return time_ms(record)
    return received_at_ms
