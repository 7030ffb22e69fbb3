"""What one webhook tells beside its own event, or without one: each fact once for ever, whichever webhook shows it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final, NamedTuple

from pipeline.transform.fields import text
from pipeline.transform.mapping.case import Attributes, Case
from pipeline.transform.mapping.events import event_attributes, event_id
from pipeline.transform.mapping.rows import FamilyMapping, Key, Row
from pipeline.transform.profile import Recovery
from pipeline.transform.ulid import ulid

REACTIVATED: Final = "subscription_reactivated"
LAPSES: Final = frozenset({"subscription.on_hold", "subscription.past_due", "subscription.paused"})
OF_THE_LAPSE: Final = ("next_billing", "next_billing_unix", "past_due_ends_at", "past_due_ends_at_unix", "paused_at")
"""Attributes of a lapse's body that are over with it."""


class Further(NamedTuple):
    """One event: its canonical name, its id, when it happened (unix milliseconds), what it carries."""

    name: str
    id: str
    at_ms: int
    attributes: Attributes


class Beside(NamedTuple):
    """When such an event is told, for the reference: by which types, in words, and what names the fact."""

    types: tuple[str, ...]
    words: str
    key: str


FURTHER: Final[Mapping[str, Beside]] = MappingProxyType(
    {
        REACTIVATED: Beside(
            (
                "subscription.active",
                "subscription.renewed",
                "subscription.updated",
                "subscription.update_payment_method",
                "subscription.plan_changed",
                "subscription.on_hold",
                "subscription.past_due",
            ),
            "state: a lapse (on_hold, past_due) that no event has answered is over, by an activation, a renewal or a "
            "body with `status` active of a later event time, whichever of the two comes last",
            "subscription_id, lapse",
        ),
        "trial_started": Beside(
            ("subscription.active",),
            "with subscription_started, where `is_trial` and `PIPELINE_EMIT_TRIAL_EVENTS`",
            "subscription_id",
        ),
        "trial_converted": Beside(
            ("subscription.renewed",),
            "with subscription_renewed, where `is_trial_conversion` and `PIPELINE_EMIT_TRIAL_EVENTS`",
            "subscription_id",
        ),
    }
)
"""Events that no row names."""


def trial_events(case: Case, row: Row, attributes: Attributes) -> Iterator[Further]:
    """Where the operator wants them; they carry the attributes of the event that they stand beside."""
    if not case.policy.emit_trial_events:
        return
    if row.event == "subscription_started" and attributes.get("is_trial") is True:
        yield _of_a_subscription(case, "trial_started", attributes)
    if attributes.get("is_trial_conversion") is True and case.type == "subscription.renewed":
        yield _of_a_subscription(case, "trial_converted", attributes)


def _of_a_subscription(case: Case, name: str, attributes: Attributes) -> Further:
    row = Row(case.type, name, key=Key(("subscription_id",)))
    return Further(name, event_id(case, row, name), case.event_ms, attributes)


def recoveries_of(case: Case) -> tuple[tuple[str, Recovery], ...]:
    """The lapses of the webhook's subscription that are answered now, each with its id: by whatever shows it first.

    That may be the lapse itself, which comes late: what a recovery tells was known before it then.
    """
    subscription_id = text(case.data.get("subscription_id"))
    if case.profile is None or subscription_id is None or not case.type.startswith("subscription."):
        return ()
    return tuple((subscription_id, recovery) for recovery in case.profile.recoveries(subscription_id))


def recovery_event(case: Case, mapping: FamilyMapping, subscription_id: str, recovery: Recovery) -> Further:
    """The event of a recovery, by whichever webhook; the lapse names it, and so any order of arrival gives it this id.

    Its status is the one that holds by now: the webhook's own may be the lapse's. What a lapse's body tells of its time
    is over; the next billing that was known before it is a newer one.
    """
    heard = len(case.notes)
    attributes = event_attributes(case, Row(case.type, REACTIVATED), replace(mapping, status=None))
    del case.notes[heard:]  # what is odd in the body is counted with its own event, or told by `explain`
    subscriptions = case.profile.subscriptions if case.profile is not None else ()
    known = next((one for one in subscriptions if one.subscription_id == subscription_id), None)
    status = text(case.data.get("status")) if known is None else known.status
    if status is not None:
        attributes["subscription_status"] = status
        if status.lower() != "active":
            attributes["superseded"] = True
    if case.type in LAPSES and case.profile is not None:
        for name in OF_THE_LAPSE:
            attributes.pop(name, None)
        before = case.profile.before(subscription_id)
        of_both = [one.next_billing for one in (before, known) if one is not None and one.next_billing is not None]
        case.date(attributes, "next_billing", next(iter(of_both), None))
    op_id = ulid(recovery.lapsed_ms, REACTIVATED, "fact", subscription_id, str(recovery.lapsed_ms))
    return Further(REACTIVATED, op_id, recovery.at_ms, attributes)
