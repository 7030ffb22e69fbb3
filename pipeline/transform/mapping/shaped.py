"""A webhook whose operations a shaper changes: the default mapping asked first, the shaper then, the pipeline last.

The shaper sees what the webhook becomes whether it was sent before or not, so that the same webhook always shows it the
same. What is out already is held back behind it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Final, NamedTuple

from pipeline.errors import ShapingError
from pipeline.transform.mapping.case import Attributes, Case
from pipeline.transform.mapping.encoding import NOTHING_OUT, Outs, event_operation, identified, outs, said, shown_name
from pipeline.transform.mapping.events import event_attributes, event_id, spoken_id, warn_if_late
from pipeline.transform.mapping.further import Further
from pipeline.transform.mapping.recoveries import recoveries_of, recovery_event
from pipeline.transform.mapping.rows import FamilyMapping, Row
from pipeline.transform.mapping.trial_events import trial_events
from pipeline.transform.profile import Person, Recovery
from pipeline.transform.shaping.applied import additional_id, shape
from pipeline.transform.shaping.known import known_of
from pipeline.transform.shaping.types import Event, Identify, Shaped, Shaper, Webhook
from pipeline.transform.verdicts import DeadLettered, Delivery, Verdict
from pipeline.transform.webhook import Webhook as ReadWebhook

ADDITIONAL: Final = "additional"
"""What metrics call an event that no row makes: its name is the user's, and may be another with each webhook."""

LEFT_OUT: Final = "an event that the default mapping makes is left out by the shaping"

TWIN: Final = "skipped, already sent: another webhook has told this fact"


class Mapped(NamedTuple):
    """The row that holds, and the family's mapping."""

    row: Row
    mapping: FamilyMapping


class _Named(NamedTuple):
    """An event that goes out: under a canonical name, id and time, and what it is called."""

    fact: Further
    shown: str
    is_additional: bool = False


def failed(error: ShapingError) -> DeadLettered:
    """The dead letter of a webhook that a shaper cannot shape."""
    return DeadLettered("transform-failed", str(error), field=error.place)


def shaped_verdict(shaper: Shaper, case: Case, mapped: Mapped | None, person: Person, about: Attributes) -> Verdict:
    """The verdict on what `shaper` makes of the webhook.

    Args:
        shaper: the user's.
        case: the webhook.
        mapped: how the default mapping takes it; None: it is about the person alone.
        person: whom it is of.
        about: what an identify would send by default.

    Raises:
        ShapingError: it cannot be shaped.
        OperationError: what it became cannot be an operation.
    """
    row, mapping = mapped if mapped is not None else (None, None)
    own = _own(case, row, mapping)
    recoveries = recoveries_of(case) if mapped is not None else ()
    told = [own] if own is not None else []
    if recoveries or case.policy.emit_trial_events:
        told += _further(case, row, mapping, recoveries)
    default = Shaped(
        Identify(about) if about else None,
        tuple([Event(shown_name(case, fact.name), fact.attributes, fact.name) for fact in told]),
    )
    shaped = shape(shaper, webhook_of(case), default, partial(known_of, case.profile))
    if shaped.notes:
        case.warnings += shaped.notes
    events = shaped.events if mapped is not None else ()  # else nothing has happened that an event could be about
    is_shaped_away = False
    attributes = shaped.identify.attributes if shaped.identify is not None else {}
    if about and not attributes:
        case.notice("shaped-away", "no profile update: the shaping leaves nothing of it")
        is_shaped_away = True
    identify = identified(case, row, mapping, person, _held(attributes))
    operations = identify.operations
    if row is not None and row.suppressed:
        case.notice("suppressed-event", TWIN)
    if own is not None and len(events) == len(told) == 1 and events[0].origin == own.name:  # as nearly always
        out = outs(case, own.id)
        if not out.any:
            event = events[0]
            fact = Further(own.name, own.id, own.at_ms, _held(event.attributes))
            operations.append(event_operation(case, person, fact, shown=event.name))
            warn_if_late(case, own.at_ms)
        return said(
            case, person, identify,
            event=own.name if out.by_id or not out.any else None, spoken=out.spoken,
            recoveries=recoveries, shaped=shaper.version, is_shaped_away=is_shaped_away,
        )  # fmt: skip
    out = outs(case, own.id) if own is not None else NOTHING_OUT
    named = _named(case, events, told, own)
    if len(named) < len(told) or sum(not one.is_additional for one in named) < len(told):
        case.notice("shaped-away", LEFT_OUT)
        is_shaped_away = True
    kept = [one for one in named if not _is_out(case, one, own, out)]
    for one in kept:
        operations.append(event_operation(case, person, one.fact, shown=one.shown))
    if kept:
        warn_if_late(case, kept[0].fact.at_ms)
    is_told = own is not None and (out.by_id or any(one.fact.id == own.id for one in kept))
    adds = case.profile is not None and any(one.is_additional for one in kept)
    return said(
        case, person, identify,
        event=own.name if own is not None and is_told else None,
        spoken=spoken_id(case) if adds else out.spoken if kept or out.any else None,
        recoveries=recoveries, shaped=shaper.version, is_shaped_away=is_shaped_away,
    )  # fmt: skip


def shaped_about(shaper: Shaper, case: Case, about: Attributes) -> Attributes:
    """What an identify sends that no webhook brought, shaped; empty when nothing is left of it.

    Raises:
        ShapingError: it cannot be shaped.
    """
    shaped = shape(shaper, webhook_of(case), Shaped(Identify(about)), partial(known_of, case.profile))
    return dict(shaped.identify.attributes) if shaped.identify is not None else {}


def webhook_of(case: Case) -> Webhook:
    """The webhook as a shaper is given it."""
    return _shown(case.type, case.body, case.event_ms, case.delivery)


def shown_ahead(webhook: ReadWebhook) -> Webhook:
    """The same before anything is decided about it."""
    envelope = webhook.envelope
    return _shown(envelope.type, envelope.fields, webhook.times.event_ms or 0, webhook.delivery)


def _shown(type_: str, body: dict[str, Any], event_ms: int, delivery: Delivery) -> Webhook:
    return Webhook(type_, body, delivery.webhook_id, event_ms, delivery.received_at_ms, delivery.mode)


def _own(case: Case, row: Row | None, mapping: FamilyMapping | None) -> Further | None:
    """The row's event, whether or not it is out."""
    if row is None or mapping is None or row.event is None:
        return None
    attributes = event_attributes(case, row, mapping)
    return Further(row.event, event_id(case, row, row.event), case.event_ms, attributes)


def _further(
    case: Case, row: Row | None, mapping: FamilyMapping | None, recoveries: tuple[tuple[str, Recovery], ...]
) -> Iterator[Further]:
    """What the webhook emits beside its own event."""
    if row is None or mapping is None:
        return
    yield from trial_events(case, row, mapping)
    for subscription_id, recovery in recoveries:
        yield recovery_event(case, mapping, subscription_id, recovery)


def _named(case: Case, events: tuple[Event, ...], told: list[Further], own: Further | None) -> list[_Named]:
    """Each event with the id, the time and the canonical name that it has for good."""
    facts: dict[str, list[Further]] = {}
    for fact in told:
        facts.setdefault(fact.name, []).append(fact)
    beside = own.id if own is not None else case.delivery.webhook_id
    count: Counter[str] = Counter()
    named = []
    for event in events:
        origin, held = event.origin or event.name, _held(event.attributes)
        if left := facts.get(origin):
            fact = left.pop(0)
            named.append(_Named(Further(fact.name, fact.id, fact.at_ms, held), event.name))
            continue
        op_id = additional_id(case.occurred_ms or 0, origin, beside, count[origin])
        named.append(_Named(Further(ADDITIONAL, op_id, case.event_ms, held), event.name, is_additional=True))
        count[origin] += 1
    return named


def _is_out(case: Case, one: _Named, own: Further | None, out: Outs) -> bool:
    """Whether an event has been emitted before, or must not be emitted again beside one that has.

    A retry's body may be read anew and lead to another fact, beside which its additional events would have other ids:
    the webhook remembers that it has spoken.
    """
    if own is not None and one.fact.id == own.id:
        return out.any
    if case.history is None:
        return False
    is_out = case.history.emitted(one.fact.id, beside=True)
    if one.is_additional:
        is_out = is_out or out.any or case.history.emitted(spoken_id(case), beside=True)
    return is_out


def _held(attributes: Mapping[str, Any]) -> Attributes:
    return attributes if type(attributes) is dict else dict(attributes)
