"""The decision about one webhook."""

from __future__ import annotations

import re
from typing import Any, Final

from pipeline.customerio.limits import PERSON_ID_MAX_BYTES
from pipeline.dodo.envelope import Envelope, parse
from pipeline.errors import OperationError, OversizeError, PipelineError, ShapingError, UnreadableBodyError
from pipeline.transform.failures import where
from pipeline.transform.identity import is_metadata, passed_over, person_of, tells_more
from pipeline.transform.mapping.case import Attributes, Case
from pipeline.transform.mapping.drops import drop
from pipeline.transform.mapping.encoding import event_operation, identified, outs, said
from pipeline.transform.mapping.events import event_attributes, event_id, warn_if_late
from pipeline.transform.mapping.examples import is_vendor_example
from pipeline.transform.mapping.further import Further, may_tell
from pipeline.transform.mapping.identify import identify_attributes
from pipeline.transform.mapping.recoveries import recoveries_of, recovery_event
from pipeline.transform.mapping.rows import FamilyMapping, Row
from pipeline.transform.mapping.shaped import TWIN, Mapped, failed, shaped_verdict
from pipeline.transform.mapping.table import CLAIMED, TABLE
from pipeline.transform.mapping.trial_events import trial_events
from pipeline.transform.policy import Policy
from pipeline.transform.profile import Person, Profile
from pipeline.transform.shaping.applied import may_change
from pipeline.transform.verdicts import DeadLettered, Delivery, MappedOperation, Verdict
from pipeline.transform.webhook import Webhook

ID_ONLY: Final = "the body names the customer by id alone: e-mail, name and identify come from the state"

STICKY: Final = (
    "the first step of PIPELINE_PERSON_ID finds nothing in this body, a later one decides who it is; the state keeps "
    "to the step that once hit for the customer"
)

KEPT: Final = "PIPELINE_PERSON_ID names another person by this body; the customer stays who they became first"

_TYPE_FORM = re.compile(r"[a-z0-9_.]{1,64}")


def map_webhook(webhook: Webhook, policy: Policy, profile: Profile | None = None) -> Verdict:
    """Decide what one webhook becomes.

    The same arguments always give the same verdict, byte for byte. Odd input never raises: it is tolerated or ends in
    a verdict.

    Args:
        webhook: as it was read.
        policy: the operator's settings.
        profile: the customer's state; None decides by the body alone. Ignored for test-mode webhooks.
    """
    try:
        return decide(webhook, policy, profile)
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
    case = Case(Webhook(Envelope("backfill", None, None, data, {}), delivery), policy, profile, profile)
    person = person_of(policy.person_id_chain, case.customer, data, profile=profile)
    if person is None:
        return _nobody(policy)
    about = _about(case, None, None)
    try:
        if policy.shaper is not None:
            return shaped_verdict(policy.shaper, case, None, person, about)
        return said(case, person, identified(case, None, None, person, about))
    except ShapingError as error:
        return failed(error)


def map_body(body: bytes, delivery: Delivery, policy: Policy, profile: Profile | None = None) -> Verdict:
    """`map_webhook` of raw bytes; what is no webhook becomes the dead letter `unreadable`."""
    try:
        envelope = parse(body)
    except UnreadableBodyError as error:
        return DeadLettered("unreadable", str(error))
    return map_webhook(Webhook(envelope, delivery), policy, profile)


def decide(webhook: Webhook, policy: Policy, profile: Profile | None = None) -> Verdict:
    """`map_webhook` without its net, for tests that look for what the net would catch."""
    envelope, delivery = webhook.envelope, webhook.delivery
    if delivery.mode == "test":
        if not policy.forward_test_mode:
            return drop("test-mode")
        profile = None
    elif is_vendor_example(envelope.data):
        return drop("vendor-example")
    claimed = policy.shaper is not None and envelope.type in policy.shaper.claims
    known = TABLE.get(envelope.type) or (CLAIMED if claimed else None)
    if known is None:
        shown = f"'{envelope.type}'" if _TYPE_FORM.fullmatch(envelope.type) else "of an unusual form"
        return DeadLettered("unknown-type", f"the type {shown} is not known to this version", field="type")
    mapping, rows = known
    case = Case(webhook, policy, profile, profile)
    for row in rows:  # the last one always holds
        if row.when is None or row.when.holds(case):
            break
    if row.drop is not None and not claimed:
        return drop(row.drop)
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
    except ShapingError as error:
        return failed(error)
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
    if case.policy.asks_metadata:
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


def _about(case: Case, row: Row | None, mapping: FamilyMapping | None) -> Attributes:
    """What an identify would tell. A person may be several customers, whose sums whoever knows them all tells of."""
    alone = case.profile is None or not case.policy.pools
    return identify_attributes(case, row, mapping, with_sums=alone)


def _operations(case: Case, row: Row, mapping: FamilyMapping, person: Person) -> Verdict:
    about = _about(case, row, mapping)
    shaper = case.policy.shaper
    if shaper is not None and may_change(shaper, case.type, may_tell(row.event)):
        return shaped_verdict(shaper, case, Mapped(row, mapping), person, about)
    identify = identified(case, row, mapping, person, about)
    operations = identify.operations
    if row.suppressed:
        case.notice("suppressed-event", TWIN)
    event, spoken = _own_event(case, row, mapping, person, operations)
    if case.policy.emit_trial_events:
        for further in trial_events(case, row, mapping):
            _add_further(case, person, further, operations)
    recoveries = recoveries_of(case)
    for subscription_id, recovery in recoveries:
        _add_further(case, person, recovery_event(case, mapping, subscription_id, recovery), operations)
    return said(
        case, person, identify, event=event, spoken=spoken, recoveries=recoveries,
        shaped=shaper.version if shaper is not None else None,
    )  # fmt: skip


def _own_event(
    case: Case, row: Row, mapping: FamilyMapping, person: Person, operations: list[MappedOperation]
) -> tuple[str | None, str | None]:
    """Add the row's event, if it has one that is not out; `Operations.event` and `Operations.spoken`."""
    if row.event is None:
        return None, None
    op_id = event_id(case, row, row.event)
    out = outs(case, op_id)
    if out.any:
        return row.event if out.by_id else None, out.spoken
    warn_if_late(case, case.event_ms)
    attributes = event_attributes(case, row, mapping)
    operations.append(event_operation(case, person, Further(row.event, op_id, case.event_ms, attributes)))
    return row.event, out.spoken


def _add_further(case: Case, person: Person, further: Further, operations: list[MappedOperation]) -> None:
    if case.history is not None and case.history.emitted(further.id, beside=True):
        return
    if not any(operation.kind == "event" for operation in operations):
        warn_if_late(case, further.at_ms)
    operations.append(event_operation(case, person, further))
