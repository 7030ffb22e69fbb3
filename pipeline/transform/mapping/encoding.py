"""From what is to be sent about a person to operations: ids, barrier, and what the state must remember."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from pipeline.customerio import operations as track
from pipeline.transform.mapping.case import NOTHING, Attributes, Case
from pipeline.transform.mapping.drops import drop
from pipeline.transform.mapping.events import spoken_ids, title_of
from pipeline.transform.mapping.further import Further
from pipeline.transform.mapping.identify import (
    first_seen_s,
    identifier_of,
    identity_of,
    is_new_person,
    left_person,
    may_merge,
    needs_barrier,
)
from pipeline.transform.mapping.rows import FamilyMapping, Row
from pipeline.transform.mapping.table import TABLE
from pipeline.transform.profile import Person, Recovery
from pipeline.transform.verdicts import MappedOperation, Operations, Verdict

LEFT: Final = (
    "the customer's operations went to another person so far (the customer's id, while nothing better was known, or a "
    "former address or id): what was sent there stays there"
)


@dataclass(slots=True, init=False)
class Identified:
    """The identify, with a merge behind it where one is due; `identity` is the digest of what it sends, if it does."""

    operations: list[MappedOperation]
    identity: bytes | None
    shown_s: int | None
    """The time that the identify carries, unix seconds; None: there is none."""

    def __init__(self, operations: list[MappedOperation], identity: bytes | None, shown_s: int | None = None) -> None:
        self.operations = operations
        self.identity = identity
        self.shown_s = shown_s


class Outs(NamedTuple):
    """What is known to be out of a webhook's event: by its own id, or by one under which the webhook emitted another.

    `spoken` is the id by which the state is to remember that the webhook has emitted one, None where it need not.
    """

    by_id: bool
    any: bool
    spoken: str | None


NOTHING_OUT: Final = Outs(by_id=False, any=False, spoken=None)


def identified(
    case: Case, row: Row | None, mapping: FamilyMapping | None, person: Person, attributes: Attributes
) -> Identified:
    """The identify that sends `attributes`, if it would change anything, and with the state the digest of them.

    Where the operator wants it, the person of a former address, or the customer's id that stood in, is merged into the
    new one, who must exist by then: the identify before it is that person's first, and so a barrier.
    """
    told = case.fitted(attributes)
    if told == NOTHING:
        return Identified([], None)
    profile, identity, is_new = case.profile, None, False
    shown_s = case.snapshot_s
    if profile is not None:
        identity = identity_of(told)
        is_new = is_new_person(profile, person)
        if not is_new and identity == profile.identity:
            case.notice("unchanged-identify", "no profile update: nothing about the person changed")
            return Identified([], identity)
        shown_s = max(shown_s, profile.delivered_at_s)
        if is_new and case.policy.set_created_at:
            told = case.fitted({**attributes, "created_at": first_seen_s(case, profile)})
    identify = MappedOperation(
        op_id=f"{case.delivery.webhook_id}:identify",
        body=track.identify(person.id, told, timestamp_s=shown_s, identifier=identifier_of(person)),
        barrier=needs_barrier(case, row, mapping) if profile is None else is_new,
        kind="identify",
        name=None,
    )
    former = left_person(profile, person) if profile is not None else None
    if former is None:
        return Identified([identify], identity, shown_s)
    if not may_merge(case.policy, former, person):
        case.notice("left-person", LEFT)
        return Identified([identify], identity, shown_s)
    merge = MappedOperation(
        op_id=f"{case.delivery.webhook_id}:merge",
        body=track.merge(
            person.id, former.id, identifier=identifier_of(person), secondary_identifier=former.identifier
        ),
        barrier=False,
        kind="merge",
        name=None,
    )
    return Identified([identify, merge], identity, shown_s)


def outs(case: Case, op_id: str) -> Outs:
    """Whether the event with this id, or another reading of the webhook, has been emitted before."""
    history = case.history
    if history is None:
        return NOTHING_OUT
    is_out = history.emitted(op_id)
    if not is_out and history.stands_for_event:
        return NOTHING_OUT  # what stands for its event is remembered by no id, and none needs to be made
    spoken, ids = (None, []) if history.stands_for_event else spoken_ids(case, TABLE[case.type][1])
    has_spoken = spoken is not None and history.emitted(spoken)
    left = None if has_spoken or op_id in ids else spoken
    if not (is_out or has_spoken or any(map(history.emitted, ids))):
        return Outs(by_id=False, any=False, spoken=left)
    case.notice("suppressed-event", "skipped, already sent: the event is out")
    return Outs(by_id=is_out, any=True, spoken=left)


def event_operation(case: Case, person: Person, event: Further, *, shown: str | None = None) -> MappedOperation:
    """One event, whose name is canonical; `shown` is what it is called at Customer.io, where that is another."""
    return MappedOperation(
        op_id=event.id,
        body=track.event(
            person.id,
            shown_name(case, event.name) if shown is None else shown,
            id=event.id,
            timestamp_s=event.at_ms // 1000,
            attributes=case.fitted(event.attributes),
            identifier=identifier_of(person),
        ),
        barrier=False,
        kind="event",
        name=event.name,
    )


def shown_name(case: Case, name: str) -> str:
    """An event's canonical name in the style that goes out."""
    return title_of(name) if case.policy.title_names else name


def said(
    case: Case,
    person: Person,
    identify: Identified,
    *,
    event: str | None = None,
    spoken: str | None = None,
    recoveries: tuple[tuple[str, Recovery], ...] = (),
    shaped: str | None = None,
    is_shaped_away: bool = False,
) -> Verdict:
    """The verdict; a drop where there is nothing to send, unless that is a shaper's doing.

    What a shaper takes away is not sent, and all that the webhook shows is remembered as if it were.
    """
    operations, identity, shown_s = identify.operations, identify.identity, identify.shown_s
    if not operations and identity is None and not is_shaped_away:
        return drop("no-change")
    profile = case.profile
    address = not_before_s = None
    if profile is None:
        shown_s = None
    elif shown_s is not None:
        not_before_s = None if operations[0].barrier else case.not_before_s(shown_s)
        address = None if case.policy.pools else profile.contact.email or case.email
    return Operations(  # in their order: names cost a third of a webhook's twenty tuples
        person.id.encode(),
        tuple(operations),
        case.event_ms,
        tuple(case.warnings),
        tuple(case.notes),
        identity,
        person.step if person.settles else None,
        identifier_of(person),
        address,
        shown_s,
        not_before_s,
        event,
        spoken,
        recoveries,
        shaped,
    )
