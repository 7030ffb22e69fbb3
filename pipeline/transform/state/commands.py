"""Commands about one customer's state: take in what Dodo's API knows, and forget.

They are records of the webhooks topic with the header `dodo-command`, in the customer's own partition, so that the
worker that owns the state applies them between the webhooks. Carrying one out twice changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple, get_args

import orjson

from pipeline.customerio import operations as track
from pipeline.errors import OperationError, PipelineError
from pipeline.kafka.records import DODO_COMMAND
from pipeline.transform.fields import members, text, whole
from pipeline.transform.identity import EMAIL_STEP, person_of
from pipeline.transform.mapping.webhook import DROPS, map_profile, where
from pipeline.transform.moments import MAX_SECONDS, MIN_SECONDS
from pipeline.transform.policy import Policy
from pipeline.transform.state.book import Book
from pipeline.transform.state.facts import customer_key, encode, key, prefix
from pipeline.transform.state.gather import ApiObject, nothing, of_api_object
from pipeline.transform.state.known import summary
from pipeline.transform.state.sheet import Sheet
from pipeline.transform.state.shelf import Shelf
from pipeline.transform.verdicts import DeadLettered, Delivery, Dropped, MappedOperation, Operations, Verdict

FORGOTTEN: Final = Dropped("forgotten", DROPS["forgotten"])
DONE: Final = Dropped("command", DROPS["command"])
UNKNOWN: Final = DeadLettered("unknown-type", "a command that this version does not know", DODO_COMMAND)

OBJECTS: Final[tuple[ApiObject, ...]] = get_args(ApiObject)
REMOVALS: Final[tuple[track.Removal, ...]] = get_args(track.Removal)


class Order(NamedTuple):
    """One command about one customer."""

    value: Mapping[str, Any]
    customer_id: str
    customer: bytes
    webhook_id: str


def obey(command: str, body: bytes, webhook_id: str, policy: Policy, shelf: Shelf) -> Verdict:
    """Carry out a command record; one that cannot be understood is a dead letter, and nothing of it is done."""
    if command not in {"backfill", "forget"}:
        return UNKNOWN
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return DeadLettered("unreadable", f"the command {command} is not JSON")
    if type(value) is not dict:
        return DeadLettered("unreadable", f"the command {command} is not an object")
    customer_id = text(value.get("customer_id"))
    customer = customer_key(customer_id)
    if customer is None or customer_id is None:
        return _wrong(command, "customer_id", "names no customer")
    order = Order(value, customer_id, customer, webhook_id)
    try:
        return _forget(order, policy, shelf) if command == "forget" else _backfill(order, policy, shelf)
    except (MemoryError, PipelineError):
        raise  # the process's or the state's trouble, not the command's
    except Exception as error:  # noqa: BLE001 - as for a webhook
        return DeadLettered("unmappable", f"the command {command} failed ({where(error)}): a bug to report")


def _backfill(order: Order, policy: Policy, shelf: Shelf) -> Verdict:
    value = order.value
    object_, data, read_at_s = value.get("object"), value.get("data"), _seconds(value.get("read_at"))
    if object_ not in OBJECTS:
        return _wrong("backfill", "object", f"is none of {', '.join(OBJECTS)}")
    if type(data) is not dict:
        return _wrong("backfill", "data", "is not an object")
    if read_at_s is None:
        return _wrong("backfill", "read_at", "is no unix time in seconds")
    revives = value.get("revive") is True
    if summary(shelf, order.customer).forgotten_s and not revives:
        return FORGOTTEN
    person = {**(data if object_ == "customer" else members(data.get("customer"))), "customer_id": order.customer_id}
    book = Book(shelf, order.customer, of_api_object(object_, data, person, read_at_s, policy))
    if revives:
        book.revive()
    if value.get("emit_identify") is not True:
        book.settle(None)
        return DONE
    delivery = Delivery(order.webhook_id, attempt_at_s=read_at_s)
    verdict = map_profile({"customer": person, "customer_id": order.customer_id}, delivery, policy, book)
    match verdict:
        case Operations():
            book.settle(verdict)
        case Dropped():
            book.settle(None)
    return verdict


def _forget(order: Order, policy: Policy, shelf: Shelf) -> Verdict:
    value, customer = order.value, order.customer
    action, at_s = value.get("customerio"), _seconds(value.get("at"))
    if action is not None and action not in REMOVALS:
        return _wrong("forget", "customerio", f"is none of {', '.join(REMOVALS)}")
    if at_s is None:
        return _wrong("forget", "at", "is no unix time in seconds")
    sheet = summary(shelf, customer)
    if sheet.forgotten_s >= at_s:
        return DONE  # carried out before: what came since is not meant
    verdict: Verdict = DONE
    if action is not None:
        verdict = _removal(action, order, at_s, policy, Book(shelf, customer, nothing(at_s)))
        if isinstance(verdict, DeadLettered):
            return verdict
    mark = key(customer, "forgotten", "")
    for fact_key in [fact_key for fact_key, _ in shelf.scan(prefix(customer)) if fact_key != mark]:
        shelf.put(fact_key, None)
    # The mark last: a crash before it forgets again from the start.
    shelf.put(mark, encode([at_s]))
    emptied = Sheet()
    emptied.forgotten_s = at_s
    shelf.keep(customer, emptied.encode())
    return verdict


def _removal(action: track.Removal, order: Order, at_s: int, policy: Policy, book: Book) -> Verdict:
    """What takes the person out of Customer.io, whom the state knows the customer as."""
    person = person_of(policy.person_id_chain, {}, {"customer_id": order.customer_id}, profile=book)
    if person is None:
        return _wrong("forget", "customer_id", "is nobody whom PIPELINE_PERSON_ID can name")
    try:
        body = track.removal(person.id, action, identifier="email" if person.step == EMAIL_STEP else "id")
    except OperationError as error:
        return DeadLettered("unmappable", str(error), error.field)
    operation = MappedOperation(f"{order.webhook_id}:{action}", body, barrier=True, kind=action, name=None)
    return Operations(person.id.encode(), (operation,), event_time_ms=at_s * 1000)


def _seconds(value: Any) -> int | None:
    seconds = whole(value)
    return seconds if seconds is not None and MIN_SECONDS <= seconds < MAX_SECONDS else None


def _wrong(command: str, field: str, fault: str) -> DeadLettered:
    return DeadLettered("unmappable", f"the command {command} cannot be carried out: {field} {fault}", field)
