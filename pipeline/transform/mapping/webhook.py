"""The decision about one webhook."""

from __future__ import annotations

import re
import traceback
from collections.abc import Mapping
from pathlib import PurePath
from types import MappingProxyType
from typing import Any, Final

from pipeline.customerio import operations as track
from pipeline.customerio.limits import PERSON_ID_MAX_BYTES
from pipeline.dodo.envelope import Envelope, parse
from pipeline.errors import OperationError, OversizeError, PipelineError, UnreadableBodyError
from pipeline.transform.identity import is_metadata, passed_over, person_of, tells_more
from pipeline.transform.mapping.case import NOTHING, Case
from pipeline.transform.mapping.events import (
    event_attributes,
    event_id,
    spoken_ids,
    title_of,
    warn_if_late,
)
from pipeline.transform.mapping.examples import is_vendor_example
from pipeline.transform.mapping.further import Further
from pipeline.transform.mapping.identify import (
    first_seen_s,
    identifier_of,
    identify_attributes,
    identity_of,
    is_new_person,
    left_person,
    may_merge,
    needs_barrier,
)
from pipeline.transform.mapping.recoveries import recoveries_of, recovery_event
from pipeline.transform.mapping.rows import FamilyMapping, Row
from pipeline.transform.mapping.table import TABLE
from pipeline.transform.mapping.trial_events import trial_events
from pipeline.transform.policy import Policy
from pipeline.transform.profile import Person, Profile, Recovery
from pipeline.transform.verdicts import (
    DeadLettered,
    Delivery,
    DropCode,
    Dropped,
    MappedOperation,
    Operations,
    Verdict,
)

DROPS: Final[Mapping[DropCode, str]] = MappingProxyType(
    {
        "test-mode": "a test-mode webhook; PIPELINE_FORWARD_TEST_MODE=true sends them on as people prefixed test_",
        "vendor-example": "the vendor's fixed example or a test checkout, signed with a live secret: nobody's payment",
        "payout": "a payout is the merchant's own money, no customer's event",
        "credit-deducted": "one a usage: high volume; PIPELINE_EMIT_CREDIT_DEDUCTED=true sends them",
        "opted-out": "the customer wants no recovery mail",
        "forgotten": "the customer was forgotten after this had happened: nothing is remembered or sent",
        "command": "the command was carried out, and there is nothing to send",
        "no-change": "no event by the rules, and nothing about the person that an identify could tell",
    }
)

ID_ONLY: Final = "the body names the customer by id alone: e-mail, name and identify come from the state"

STICKY: Final = (
    "the first step of PIPELINE_PERSON_ID finds nothing in this body, a later one decides who it is; the state keeps "
    "to the step that once hit for the customer"
)

LEFT: Final = (
    "the customer's operations went to another person so far (the customer's id, while nothing better was known, or a "
    "former address or id): what was sent there stays there"
)

KEPT: Final = "PIPELINE_PERSON_ID names another person by this body; the customer stays who they became first"

_TYPE_FORM = re.compile(r"[a-z0-9_.]{1,64}")


def map_webhook(envelope: Envelope, delivery: Delivery, policy: Policy, profile: Profile | None = None) -> Verdict:
    """Decide what one webhook becomes.

    The same arguments always give the same verdict, byte for byte. Odd input never raises: it is tolerated or ends in
    a verdict.

    Args:
        envelope: the parsed body.
        delivery: what its headers tell.
        policy: the operator's settings.
        profile: the customer's state; None decides by the body alone. Ignored for test-mode webhooks.
    """
    try:
        return decide(envelope, delivery, policy, profile)
    except (MemoryError, PipelineError):
        raise  # the process's or the state's trouble, not the body's
    except Exception as error:  # noqa: BLE001 - one body that trips a bug of ours must not stop everybody's flow
        return DeadLettered("unmappable", f"the mapping failed on this body ({where(error)}): a bug to report")


def map_profile(data: dict[str, Any], delivery: Delivery, policy: Policy, profile: Profile) -> Verdict:
    """The identify of a customer whom a backfill has filled in, and no event.

    Args:
        data: the API's object, its customer under `customer`.
        delivery: the command's.
        policy: the operator's settings.
        profile: the customer, with that object.
    """
    case = Case(Envelope("backfill", None, None, data, {}), delivery, policy, profile)
    person = person_of(policy.person_id_chain, case.customer, data, profile=profile)
    if person is None:
        return _nobody(policy)
    return _said(case, person, *_identify(case, None, None, person))


def map_body(body: bytes, delivery: Delivery, policy: Policy, profile: Profile | None = None) -> Verdict:
    """`map_webhook` of raw bytes; what is no webhook becomes the dead letter `unreadable`."""
    try:
        envelope = parse(body)
    except UnreadableBodyError as error:
        return DeadLettered("unreadable", str(error))
    return map_webhook(envelope, delivery, policy, profile)


def decide(envelope: Envelope, delivery: Delivery, policy: Policy, profile: Profile | None = None) -> Verdict:
    """`map_webhook` without its net, for tests that look for what the net would catch."""
    if delivery.mode == "test":
        if not policy.forward_test_mode:
            return _drop("test-mode")
        profile = None
    elif is_vendor_example(envelope.data):
        return _drop("vendor-example")
    known = TABLE.get(envelope.type)
    if known is None:
        shown = f"'{envelope.type}'" if _TYPE_FORM.fullmatch(envelope.type) else "of an unusual form"
        return DeadLettered("unknown-type", f"the type {shown} is not known to this version", field="type")
    mapping, rows = known
    case = Case(envelope, delivery, policy, profile)
    for row in rows:  # the last one always holds
        if row.when is None or row.when.holds(case):
            break
    if row.drop is not None:
        return _drop(row.drop)
    if not case.knows_the_time:
        return DeadLettered(
            "unmappable", "neither the body's timestamp nor the delivery's headers tell the time", field="timestamp"
        )
    person = person_of(policy.person_id_chain, case.customer, case.data, mode=delivery.mode, profile=profile)
    if person is None:
        return _nobody(policy)
    _warn(case, row, person)
    try:
        return _operations(case, row, mapping, person)
    except OversizeError as error:
        return DeadLettered("oversize", str(error), field=error.field)
    except OperationError as error:
        return DeadLettered("unmappable", str(error), field=error.field)


def _nobody(policy: Policy) -> DeadLettered:
    return DeadLettered(
        "unmappable",
        f"this webhook names no customer: PIPELINE_PERSON_ID={','.join(policy.person_id_chain)} finds no id of "
        f"1 to {PERSON_ID_MAX_BYTES} bytes in the body",
        field="customer",
    )


def where(error: Exception) -> str:
    """Kind and place of a failure of ours; its message could quote the body."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} at {PurePath(frame.filename).name}:{frame.lineno}"


def _drop(code: DropCode) -> Dropped:
    return Dropped(code, DROPS[code])


def _warn(case: Case, row: Row, person: Person) -> None:
    if case.occurred_ms is None:
        case.notice(
            "unusable-time", "the body's timestamp is no usable RFC 3339 time: the event goes out with the delivery's"
        )
    if person.step is None:
        case.notice(
            "default-person-id",
            f"PIPELINE_PERSON_ID={','.join(case.policy.person_id_chain)} finds nothing in this body: "
            "the customer's id stands in",
        )
    _warn_of_ids(case, person)
    if case.profile is None and case.delivery.mode == "live":
        if row.decides is not None:
            case.notice("state-decides", row.decides)
        if person.step not in {None, case.policy.person_id_chain[0]}:
            case.notice("state-decides", STICKY)
        if not case.customer:
            case.notice("state-decides", ID_ONLY)


def _warn_of_ids(case: Case, person: Person) -> None:
    chain, customer, data = case.policy.person_id_chain, case.customer, case.data
    if not any(map(is_metadata, chain)):
        return
    if person.step != chain[0] and (step := passed_over(chain, customer, data)) is not None:
        case.notice(
            "unusable-person-id",
            f"{step} holds no id (a placeholder such as undefined or 0, nothing that can be seen, or over "
            f"{PERSON_ID_MAX_BYTES} bytes): it names nobody",
        )
    if case.profile is None or case.profile.person is None or not tells_more(customer):
        return
    named = person_of(chain, customer, data)
    if named is not None and named.step is not None and is_metadata(named.step) and named.id != person.id:
        case.notice("kept-person", KEPT)


def _identify(
    case: Case, row: Row | None, mapping: FamilyMapping | None, person: Person
) -> tuple[list[MappedOperation], bytes | None]:
    """The identify, if it would change anything, and with the state the digest of what it tells.

    Where the operator wants it, the person of a former address, or the customer's id that stood in, is merged into the
    new one, who must exist by then: the identify before it is that person's first, and so a barrier.
    """
    # A person may be several customers, whose sums whoever knows them all tells of.
    alone = case.profile is None or not case.policy.pools
    told_attributes = identify_attributes(case, row, mapping, with_sums=alone)
    told = case.fitted(told_attributes)
    if told == NOTHING:
        return [], None
    profile, identity = case.profile, None
    shown_s = case.snapshot_s
    if profile is not None:
        identity = identity_of(told)
        if identity == profile.identity and not is_new_person(profile, person):
            case.notice("unchanged-identify", "no profile update: nothing about the person changed")
            return [], identity
        shown_s = max(shown_s, profile.delivered_at_s)
        if case.policy.set_created_at and is_new_person(profile, person):
            told = case.fitted({**told_attributes, "created_at": first_seen_s(case, profile)})
    identify = MappedOperation(
        op_id=f"{case.delivery.webhook_id}:identify",
        body=track.identify(person.id, told, timestamp_s=shown_s, identifier=identifier_of(person)),
        barrier=needs_barrier(case, row, mapping, person),
        kind="identify",
        name=None,
    )
    former = left_person(profile, person) if profile is not None else None
    if former is None:
        return [identify], identity
    if not may_merge(case.policy, former, person):
        case.notice("left-person", LEFT)
        return [identify], identity
    merge = MappedOperation(
        op_id=f"{case.delivery.webhook_id}:merge",
        body=track.merge(
            person.id, former.id, identifier=identifier_of(person), secondary_identifier=former.identifier
        ),
        barrier=False,
        kind="merge",
        name=None,
    )
    return [identify, merge], identity


def _operations(case: Case, row: Row, mapping: FamilyMapping, person: Person) -> Verdict:
    operations, identity = _identify(case, row, mapping, person)
    if row.suppressed:
        case.notice("suppressed-event", "skipped, already sent: another webhook has told this fact")
    event, spoken = _own_event(case, row, person, operations)
    for further in trial_events(case, row, mapping):
        _add_further(case, person, further, operations)
    recoveries = recoveries_of(case)
    for subscription_id, recovery in recoveries:
        _add_further(case, person, recovery_event(case, mapping, subscription_id, recovery), operations)
    return _said(case, person, operations, identity, event=event, spoken=spoken, recoveries=recoveries)


def _own_event(
    case: Case, row: Row, person: Person, operations: list[MappedOperation]
) -> tuple[str | None, str | None]:
    """Add the row's event, if it has one that is not out; `Operations.event` and `Operations.spoken`."""
    if row.event is None:
        return None, None
    mapping, rows = TABLE[case.type]
    op_id, spoken = event_id(case, row, row.event), None
    if case.profile is not None:
        spoken, ids = spoken_ids(case, rows)
        is_out = case.profile.emitted(op_id)
        has_spoken = spoken is not None and case.profile.emitted(spoken)
        spoken = None if has_spoken or op_id in ids else spoken
        if is_out or has_spoken or any(map(case.profile.emitted, ids)):
            case.notice("suppressed-event", "skipped, already sent: the event is out")
            return row.event if is_out else None, spoken
    warn_if_late(case, case.event_ms)
    attributes = event_attributes(case, row, mapping)
    operations.append(_event(case, person, Further(row.event, op_id, case.event_ms, attributes)))
    return row.event, spoken


def _add_further(case: Case, person: Person, further: Further, operations: list[MappedOperation]) -> None:
    if case.profile is not None and case.profile.emitted(further.id, beside=True):
        return
    if not any(operation.kind == "event" for operation in operations):
        warn_if_late(case, further.at_ms)
    operations.append(_event(case, person, further))


def _event(case: Case, person: Person, event: Further) -> MappedOperation:
    return MappedOperation(
        op_id=event.id,
        body=track.event(
            person.id,
            title_of(event.name) if case.policy.title_names else event.name,
            id=event.id,
            timestamp_s=event.at_ms // 1000,
            attributes=case.fitted(event.attributes),
            identifier=identifier_of(person),
        ),
        barrier=False,
        kind="event",
        name=event.name,
    )


def _said(
    case: Case,
    person: Person,
    operations: list[MappedOperation],
    identity: bytes | None,
    *,
    event: str | None = None,
    spoken: str | None = None,
    recoveries: tuple[tuple[str, Recovery], ...] = (),
) -> Verdict:
    if not operations and identity is None:
        return _drop("no-change")
    profile = case.profile
    address = shown_s = not_before_s = None
    if profile is not None and operations and operations[0].kind == "identify":
        shown_s = max(case.snapshot_s, profile.delivered_at_s)
        not_before_s = None if operations[0].barrier else case.not_before_s(shown_s)
        address = None if case.policy.pools else profile.contact.email or case.email
    return Operations(
        person_key=person.id.encode(),
        operations=tuple(operations),
        event_time_ms=case.event_ms,
        warnings=tuple(case.warnings),
        notes=tuple(case.notes),
        identity=identity,
        identified_by=person.step if person.settles else None,
        identifier=identifier_of(person),
        address=address,
        identified_at_s=shown_s,
        not_before_s=not_before_s,
        event=event,
        spoken=spoken,
        recoveries=recoveries,
    )
