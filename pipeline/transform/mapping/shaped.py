"""A webhook whose telling a shaper changes: the default mapping asked first, the shaper then, the pipeline last.

The shaper sees what the webhook tells whether it was told before or not, so that the same webhook always tells it the
same. What is out already is held back behind it.
"""

from __future__ import annotations

from functools import partial
from typing import Final, NamedTuple

from pipeline.errors import ShapingError
from pipeline.transform.mapping.case import Attributes, Case
from pipeline.transform.mapping.encoding import Outs, event_operation, identified, outs, said, shown_name
from pipeline.transform.mapping.events import event_attributes, event_id, further_events, spoken_id, warn_if_late
from pipeline.transform.mapping.rows import FamilyMapping, Row
from pipeline.transform.profile import Person
from pipeline.transform.shaping.applied import ids, shape
from pipeline.transform.shaping.known import known_of
from pipeline.transform.shaping.types import Event, Identify, Shaped, Shaper, Webhook
from pipeline.transform.verdicts import DeadLettered, MappedOperation, Verdict

ADDITIONAL: Final = "additional"
"""What metrics call an event that no row makes: its name is the user's, and may be another with each webhook."""

TWIN: Final = "skipped, already sent: another webhook has told this fact"


class Mapped(NamedTuple):
    """The row that holds, all of its type's, and the family's mapping."""

    row: Row
    rows: tuple[Row, ...]
    mapping: FamilyMapping


class _Fact(NamedTuple):
    name: str
    id: str
    attributes: Attributes


def failed(error: ShapingError) -> DeadLettered:
    """The dead letter of a webhook that a shaper cannot shape."""
    return DeadLettered("transform-failed", str(error), field=error.place)


def shaped_verdict(shaper: Shaper, case: Case, mapped: Mapped | None, person: Person, about: Attributes) -> Verdict:
    """The verdict on what `shaper` makes of the webhook.

    Args:
        shaper: the user's.
        case: the webhook.
        mapped: how the default mapping takes it; None: it tells of the person alone.
        person: whom it is of.
        about: what an identify would tell by default.

    Raises:
        ShapingError: it cannot be shaped.
        OperationError: what it became cannot be an operation.
    """
    row, mapping = (mapped.row, mapped.mapping) if mapped is not None else (None, None)
    told = _facts(case, mapped)
    default = Shaped(
        Identify(about) if about else None,
        tuple(Event(shown_name(case, fact.name), fact.attributes, fact.name) for fact in told),
    )
    shaped = shape(shaper, webhook_of(case), default, partial(known_of, case.profile))
    if shaped.notes:
        case.warnings += shaped.notes
    is_shaped_away = False
    attributes = shaped.identify.attributes if shaped.identify is not None else {}
    if about and not attributes:
        case.notice("shaped-away", "no profile update: the shaping leaves nothing of it")
        is_shaped_away = True
    held = attributes if type(attributes) is dict else dict(attributes)
    operations, identity = identified(case, row, mapping, person, held)
    if mapped is not None and mapped.row.suppressed:
        case.notice("suppressed-event", TWIN)
    main = told[0].id if told else None
    beside = main or case.delivery.webhook_id
    out = outs(case, mapped.rows, main) if mapped is not None and main is not None else Outs(False, False, None)
    if out.any:
        event = told[0].name if out.by_id else None
        return said(
            case, person, operations, identity,
            event=event, spoken=out.spoken, shaped=shaper.version, is_shaped_away=is_shaped_away,
        )  # fmt: skip
    events_of, is_short = _named(case, shaped.events, told, beside)
    if is_short:
        case.notice("shaped-away", "an event that the default mapping makes is left out by the shaping")
        is_shaped_away = True
    events, speaks = _events(case, person, events_of)
    if events:
        warn_if_late(case)
    return said(
        case, person, [*operations, *events], identity,
        event=told[0].name if any(operation.op_id == main for operation in events) else None,
        spoken=spoken_id(case) if speaks else out.spoken if events else None,
        shaped=shaper.version, is_shaped_away=is_shaped_away,
    )  # fmt: skip


def shaped_about(shaper: Shaper, case: Case, about: Attributes) -> Attributes:
    """What an identify tells that no webhook brought, shaped; empty when nothing is left of it.

    Raises:
        ShapingError: it cannot be shaped.
    """
    shaped = shape(shaper, webhook_of(case), Shaped(Identify(about)), partial(known_of, case.profile))
    return dict(shaped.identify.attributes) if shaped.identify is not None else {}


def webhook_of(case: Case) -> Webhook:
    """The webhook as a shaper is given it."""
    delivery = case.delivery
    return Webhook(case.type, case.body, delivery.webhook_id, case.event_ms, delivery.received_at_ms, delivery.mode)


def _facts(case: Case, mapped: Mapped | None) -> list[_Fact]:
    if mapped is None or mapped.row.event is None:
        return []
    row = mapped.row
    attributes = event_attributes(case, row, mapped.mapping)
    name = mapped.row.event
    return [
        _Fact(name, event_id(case, row, name), attributes),
        *(_Fact(further, further_id, attributes) for further, further_id in further_events(case, row, attributes)),
    ]


def _named(
    case: Case, events: tuple[Event, ...], told: list[_Fact], beside: str
) -> tuple[list[tuple[Event, str, bool]], bool]:
    """Each event with its id and whether it is an additional one; and whether one of the default's is missing."""
    if len(events) == len(told) == 1 and events[0].origin == told[0].name:  # as nearly always
        return [(events[0], told[0].id, False)], False
    facts = {fact.name: fact.id for fact in told}
    named = list(ids(events, facts, at_ms=case.occurred_ms or 0, beside=beside))
    return named, not {*facts.values()} <= {op_id for _, op_id, _ in named}


def _events(case: Case, person: Person, named: list[tuple[Event, str, bool]]) -> tuple[list[MappedOperation], bool]:
    """The events that are not out, and whether an additional one is among them.

    A retry's body may be read anew and lead to another fact, after which its additional events would have other ids:
    the webhook remembers that it has spoken.
    """
    profile, speaks = case.profile, False
    operations: list[MappedOperation] = []
    encoded: dict[int, bytes] = {}  # further events carry the same attributes
    for event, op_id, is_additional in named:
        if profile is not None:
            if profile.emitted(op_id) or (is_additional and not speaks and profile.emitted(spoken_id(case))):
                case.notice("suppressed-event", "skipped, already sent: the event is out")
                continue
            speaks = speaks or is_additional
        attributes = encoded.get(id(event.attributes))
        if attributes is None:
            held = event.attributes if type(event.attributes) is dict else dict(event.attributes)
            attributes = encoded[id(event.attributes)] = case.fitted(held)
        name = ADDITIONAL if is_additional else event.origin or event.name
        operations.append(event_operation(case, person, name, op_id, attributes, shown=event.name))
    return operations, speaks
