"""Commands about one customer's state: take in what Dodo's API knows, forget, add to a person, unsay an identify.

They are records of the webhooks topic with the header `dodo-command`, in the customer's own partition (one that lies
elsewhere is sent on), so that the worker that owns the state applies them between the webhooks. A share lies in the
person's (`shares`), and nothing follows from it but an identify, so commands never go round. Carrying one out twice
changes nothing. All four are in one module, as they share the checks and what follows from them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, get_args

import orjson

from pipeline.customerio import operations as track
from pipeline.customerio.limits import PERSON_ID_MAX_BYTES as ID_MAX_BYTES
from pipeline.errors import OperationError
from pipeline.kafka.records import (
    DLQ_REPLAYS,
    DODO_COMMAND,
    RECEIVED_AT,
    UNTOLD,
    Headers,
    header,
    int_header,
)
from pipeline.statestore.draft import Draft, is_the_process_s
from pipeline.statestore.store import KeyValueStore
from pipeline.transform.customers import identity
from pipeline.transform.customers.customer_view import CustomerView
from pipeline.transform.customers.facts import (
    MAX_FACT_BYTES,
    PERSON_PREFIX,
    customer_key,
    decode,
    encode,
    identity_key,
    is_older,
    key,
    person_key,
    prefix,
)
from pipeline.transform.customers.merged_facts import keep, summary_of
from pipeline.transform.customers.observations import ApiObject, nothing, of_api_object
from pipeline.transform.customers.ownership import elsewhere
from pipeline.transform.customers.removal import OnlyDigest, addressed, whom
from pipeline.transform.customers.requests import COMMANDS, SECONDS, digest_of, remembered, was_carried_out
from pipeline.transform.customers.shape import digest, fits
from pipeline.transform.customers.shared_person import ArrivedShare, take_in
from pipeline.transform.customers.shares import SHARE, Commands, Whom, shares_of, withdrawn
from pipeline.transform.customers.summary import Folded, Summary
from pipeline.transform.event_times import MAX_SECONDS, MIN_SECONDS
from pipeline.transform.failures import where
from pipeline.transform.fields import email, members, text, whole
from pipeline.transform.identity import EMAIL_STEP
from pipeline.transform.mapping.drops import DROPS
from pipeline.transform.mapping.webhook import map_profile
from pipeline.transform.policy import Policy
from pipeline.transform.profile import Person
from pipeline.transform.verdicts import DeadLettered, Decided, Delivery, Dropped, MappedOperation, Operations, Verdict

FORGOTTEN: Final = Dropped("forgotten", DROPS["forgotten"])
DONE: Final = Dropped("command", DROPS["command"])
UNKNOWN: Final = DeadLettered("unknown-type", "a command that this version does not know", DODO_COMMAND)

TOO_LARGE: Final = DeadLettered(
    "oversize",
    f"what is known of the customer would take more than {MAX_FACT_BYTES:,} bytes in one record: a text of the body or "
    "a value of allow-listed metadata is too long",
)

PERSON: Final = re.compile(rf"{PERSON_PREFIX}[0-9a-f]{{32}}")
"""What the facts of a person who is several customers lie under (`facts.person_key`)."""

OBJECTS: Final[tuple[ApiObject, ...]] = get_args(ApiObject)
NOBODY: Final = (
    "is nobody whom PIPELINE_PERSON_ID and the state can name at Customer.io: remove the person there by hand (and "
    "whoever is there under the customer's id), and forget the customer here without --customerio"
)
GONE: Final = (
    "needs the person's address, and an earlier request has left a digest of it alone: remove the person at "
    "Customer.io by hand, and whoever is there under the customer's id"
)

REMOVALS: Final[tuple[track.Removal, ...]] = get_args(track.Removal)


class CustomerCommand(NamedTuple):
    """One command about one customer."""

    value: Mapping[str, Any]
    customer_id: str
    customer: bytes
    webhook_id: str
    at_ms: int
    """When the command was put into its topic, unix milliseconds."""
    written_s: int | None
    """The same in seconds, when it was put there first; None of one that was put back, of which nobody knows it."""

    def seconds(self, name: str) -> int | None:
        """A moment that the command names, unix seconds, by the brokers' clock: it cannot be later than its record.

        Of a sender whose clock is ahead, what it read would win over webhooks that have not come yet, and what it
        forgets would take them along.
        """
        told = _seconds(self.value.get(name))
        return told if told is None or not self.at_ms else min(told, self.at_ms // 1000)


class Carried(NamedTuple):
    """What a command came to, and what the owners of people must learn of it."""

    verdict: Decided
    commands: Commands = ()
    whose: bytes | None = None
    """The part of keys of the customer or person whose state remembers its identify as sent."""


def obey(
    command: str,
    body: bytes,
    webhook_id: str,
    policy: Policy,
    store: KeyValueStore,
    *,
    at_ms: int = 0,
    headers: Headers = (),
) -> Carried:
    """Carry out a command record; one that cannot be understood is a dead letter, and nothing of it is done.

    `headers` are the record's: they show whether a command that lies elsewhere was sent on before.
    """
    carry_out = _COMMANDS.get(command)
    if carry_out is None:
        return Carried(UNKNOWN)
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return Carried(DeadLettered("unreadable", f"the command {command} is not JSON"))
    if type(value) is not dict:
        return Carried(DeadLettered("unreadable", f"the command {command} is not an object"))
    customer_id = text(value.get("customer_id"))
    customer = _key_of(command, customer_id)
    if customer is None or customer_id is None:
        return _wrong(command, "customer_id", "names no customer")
    order = CustomerCommand(value, customer_id, customer, webhook_id, at_ms, _written_s(at_ms, headers))
    if (away := elsewhere(store.ownership, _whose(command, order), headers)) is not None:
        return Carried(away)
    draft = Draft(store)
    try:
        carried = carry_out(order, policy, draft)
    except Exception as error:
        if is_the_process_s(error):
            raise
        return Carried(DeadLettered("unmappable", f"the command {command} failed ({where(error)}): a bug to report"))
    if is_too_large(draft, carried.commands):
        return Carried(TOO_LARGE)
    draft.commit()
    return carried._replace(whose=_whose(command, order))


def is_too_large(draft: Draft, commands: Commands) -> bool:
    """Whether a record would be left behind that its topic might not take."""
    sent = max((len(record.value or b"") for record in commands), default=0) if commands else 0
    return draft.largest > MAX_FACT_BYTES or sent > MAX_FACT_BYTES


def _written_s(at_ms: int, headers: Headers) -> int | None:
    """When a record was first written, by its own time or, of a copy that was sent on, by what it has of the first."""
    if header(headers, DLQ_REPLAYS) is not None:
        return None
    first_ms = int_header(headers, RECEIVED_AT) or at_ms
    return first_ms // 1000 or None


def _key_of(command: str, customer_id: str | None) -> bytes | None:
    """The part of keys of the customer or person that a command names."""
    if command == UNTOLD and customer_id is not None and PERSON.fullmatch(customer_id):
        return customer_id.encode()
    return customer_key(customer_id)


def _whose(command: str, order: CustomerCommand) -> bytes:
    """Whose facts the command is about: of a share, the person's."""
    who = _person_of(order.value) if command == SHARE else None
    return order.customer if who is None else person_key(*who)


def _merged_into(value: Any, person: Whom) -> Whom | None:
    """Whom a share says that its person was merged into; None where that is nobody else."""
    into = _person_of(value) if type(value) is dict else None
    return None if into == person else into


def _person_of(value: Mapping[str, Any]) -> Whom | None:
    """The person whom a share names; None when it names none, or by both an address and an id."""
    address, id_ = value.get("email"), value.get("id")
    if id_ is None:
        return Whom(address, "email") if type(address) is str and address == (email(address) or "").lower() else None
    if address is not None or type(id_) is not str or not id_ or len(id_.encode("utf-8", "replace")) > ID_MAX_BYTES:
        return None
    return Whom(id_, "id")


def _backfill(order: CustomerCommand, policy: Policy, store: KeyValueStore) -> Carried:
    value = order.value
    object_, data, read_at_s = value.get("object"), value.get("data"), order.seconds("read_at")
    if object_ not in OBJECTS:
        return _wrong("backfill", "object", f"is none of {', '.join(OBJECTS)}")
    if type(data) is not dict:
        return _wrong("backfill", "data", "is not an object")
    if read_at_s is None:
        return _wrong("backfill", "read_at", "is no unix time in seconds")
    # Only who was forgotten when it was read: of a later request whoever asked for the past cannot have known.
    forgotten_s = summary_of(store, order.customer).forgotten_s
    revives = value.get("revive") is True and forgotten_s < read_at_s
    if forgotten_s and not revives:
        return Carried(FORGOTTEN)
    person = {**(data if object_ == "customer" else members(data.get("customer"))), "customer_id": order.customer_id}
    view = CustomerView(store, order.customer, of_api_object(object_, data, person, read_at_s, policy))
    if revives:
        view.revive()
    if value.get("emit_identify") is not True:
        view.settle(None)
        return Carried(DONE)
    delivery = Delivery(order.webhook_id, attempt_at_s=read_at_s)
    verdict = map_profile({"customer": person, "customer_id": order.customer_id}, delivery, policy, view)
    if isinstance(verdict, DeadLettered):
        return Carried(verdict)
    said = verdict if isinstance(verdict, Operations) else None
    view.settle(said)
    return Carried(
        verdict,
        shares_of(store, order.customer_id, order.customer, view, said, at_ms=order.at_ms, policy=policy),
    )


def _forget(order: CustomerCommand, policy: Policy, store: KeyValueStore) -> Carried:
    value, customer = order.value, order.customer
    action, at_s = value.get("customerio"), order.seconds("at")
    if action is not None and action not in REMOVALS:
        return _wrong("forget", "customerio", f"is none of {', '.join(REMOVALS)}")
    if at_s is None:
        return _wrong("forget", "at", "is no unix time in seconds")
    summary = summary_of(store, customer)
    request = key(customer, "request", "")
    before, this = decode("request", store.get(request)), digest_of(order.webhook_id)
    by_earlier_version = before is not None and at_s == before[SECONDS] and this in before[COMMANDS]
    if order.written_s is not None and not by_earlier_version:
        at_s = order.written_s  # clocks of two senders differ: the later request must not look like the earlier one
    if summary.forgotten_s > at_s:
        return Carried(DONE)  # another one was carried out since
    if summary.forgotten_s == at_s and was_carried_out(before, at_s, this):
        # What came since is not meant. What is older a crash has left: the operations were durable before.
        if left := [name for name, value in store.scan(prefix(customer)) if is_older(name, value, at_s)]:
            for fact_key in left:
                store.put(fact_key, None)
            store.put_derived(customer, None)
        return Carried(DONE)
    view = CustomerView(store, customer, nothing(at_s))
    person = whom(order.customer_id, policy.person_id_chain, view, before)
    verdict: Verdict = DONE
    removed: list[Whom] = []
    if action is not None:
        if person is None:
            return _wrong("forget", "customer_id", NOBODY)
        if isinstance(person, OnlyDigest):
            return _wrong("forget", "customerio", GONE)
        removed = _removed(order, person)
        verdict = _removal(action, order, at_s, removed)
        if isinstance(verdict, DeadLettered):
            return Carried(verdict)
    # Before the facts go that name the person: a crash in between must not leave a command that names another one.
    others = addressed(view, decode("shared", store.get(key(customer, "shared", ""))))
    store.put(request, encode(remembered(before, at_s, this, person if isinstance(person, Person) else None, others)))
    adding = removed if policy.pools else ()
    commands = withdrawn(store, order.customer_id, customer, adding, action, at_ms=order.at_ms, at_s=at_s)
    kept = key(customer, "shared", "")
    mark = key(customer, "forgotten", "")
    # The mark comes before the first fact goes. After a crash in between, webhooks from before the command are read
    # again: without a mark they would be about a customer of whom a half is gone, and name whom they name alone.
    store.put(mark, encode([at_s]))
    who = identity_key(customer)
    gone = [fact_key for fact_key, _ in store.scan(prefix(customer)) if fact_key not in {mark, kept, request}]
    for fact_key in sorted(gone, key=lambda fact_key: fact_key != who):
        store.put(fact_key, None)
    emptied = Summary()
    emptied.forgotten_s = at_s
    keep(store, customer, Folded(emptied, [], []))
    return Carried(verdict, commands)


def _share(order: CustomerCommand, policy: Policy, store: KeyValueStore) -> Carried:
    value = order.value
    who, version, share = _person_of(value), value.get("version"), value.get("share")
    delivered_s = _seconds(value.get("delivered"))
    if who is None:
        return _wrong(SHARE, "email", "is no address in lower case, and no id stands in its place")
    if type(version) is not int or version < 0:
        return _wrong(SHARE, "version", "is no whole number from 0 on")
    if delivered_s is None:
        return _wrong(SHARE, "delivered", "is no unix time in seconds")
    if not fits("share", [0, share]):
        return _wrong(SHARE, "share", "is neither null nor an object of this version's form")
    action, merged = value.get("customerio"), value.get("merged_into")
    if action is not None and action not in REMOVALS:
        return _wrong(SHARE, "customerio", f"is none of {', '.join(REMOVALS)}")
    into = _merged_into(merged, who)
    if merged is not None and into is None:
        return _wrong(SHARE, "merged_into", "names no other person")
    news = ArrivedShare(
        who.name,
        who.identifier,
        order.customer_id,
        version,
        delivered_s,
        share,
        told=value.get("told") is True,
        removed=value.get("removed") is True,
        customerio=action,
        merged_into=into,
        webhook_id=order.webhook_id,
        at_ms=order.at_ms,
    )
    return Carried(take_in(news, policy, store) or DONE)


def _untold(order: CustomerCommand, policy: Policy, store: KeyValueStore) -> Carried:  # noqa: ARG001 - as the others
    """An identify was given up: if it is still the last one, the next webhook sends all of it again."""
    refused = order.value.get("identity")
    if not digest(refused):
        return _wrong(UNTOLD, "identity", "is no digest")
    if order.customer.startswith(PERSON_PREFIX.encode()):
        person = key(order.customer, "person", "")
        said = decode("person", store.get(person))
        if said is not None and said[2] == refused:
            store.put(person, encode([said[0] + 1, said[1], None, said[3]]))
        return Carried(DONE)
    summary = summary_of(store, order.customer)
    if summary.identity[identity.DIGEST] == refused:
        summary.identity[identity.VERSION] += 1
        summary.identity[identity.DIGEST] = summary.identity[identity.TO] = None
        store.put(identity_key(order.customer), encode(summary.identity))
        store.put_derived(order.customer, summary.encode())
    return Carried(DONE)


_COMMANDS: Final = {"backfill": _backfill, "forget": _forget, SHARE: _share, UNTOLD: _untold}


def _removed(order: CustomerCommand, person: Person) -> list[Whom]:
    """Whom a request removes at Customer.io: the person, and whoever is there under the customer's own id.

    It stands in while the person is not known, and what it got then stays there. To remove nobody changes nothing.
    """
    who = Whom(person.id, "email" if person.step == EMAIL_STEP else "id")
    stand_in = Whom(order.customer_id, "id")
    return [who, stand_in] if who != stand_in and len(order.customer) <= ID_MAX_BYTES else [who]


def _removal(action: track.Removal, order: CustomerCommand, at_s: int, removed: list[Whom]) -> Verdict:
    """What takes them out of Customer.io.

    The operation about the stand-in goes to the partition of what was sent to the id, behind all of it.
    """
    person, *stand_ins = removed
    op_id = f"{order.webhook_id}:{action}"
    try:
        body = track.removal(person.name, action, identifier=person.identifier)
    except OperationError as error:
        return DeadLettered("unmappable", str(error), error.field)
    operations = [MappedOperation(op_id, body, barrier=True, kind=action, name=None)]
    for stand_in in stand_ins:
        body = track.removal(stand_in.name, action)
        operations.append(MappedOperation(f"{op_id}-stand-in", body, True, action, None, order.customer))
    return Operations(person.name.encode(), tuple(operations), event_time_ms=at_s * 1000)


def _seconds(value: Any) -> int | None:
    seconds = whole(value)
    return seconds if seconds is not None and MIN_SECONDS <= seconds < MAX_SECONDS else None


def _wrong(command: str, field: str, fault: str) -> Carried:
    return Carried(_fault(command, field, fault))


def _fault(command: str, field: str, fault: str) -> DeadLettered:
    return DeadLettered("unmappable", f"the command {command} cannot be carried out: {field} {fault}", field)
