"""One answer to one lapse, by whichever webhook shows first that it is over: `subscription_reactivated`.

A pause is answered by `subscription_unpaused`, which its end's own webhook sends where nothing showed it before.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from pipeline.transform.fields import text
from pipeline.transform.mapping.case import Case
from pipeline.transform.mapping.events import event_attributes
from pipeline.transform.mapping.further import REACTIVATED, UNPAUSED, Further
from pipeline.transform.mapping.rows import FamilyMapping, Row
from pipeline.transform.profile import Recovery
from pipeline.transform.ulid import ulid

LAPSES: Final = frozenset({"subscription.on_hold", "subscription.past_due", "subscription.paused"})
OF_THE_LAPSE: Final = tuple(
    name for date in ("next_billing", "past_due_ends_at", "paused_at") for name in (date, f"{date}_unix")
)
"""Attributes of a lapse's body that are over with it."""


def recoveries_of(case: Case) -> tuple[tuple[str, Recovery], ...]:
    """The lapses of the webhook's subscription that are answered now, each with its id: by whatever shows it first.

    That may be the lapse itself, which comes late: what a recovery shows was known before it then.
    """
    if case.history is None or not case.type.startswith("subscription."):
        return ()
    subscription_id = text(case.data.get("subscription_id"))
    if subscription_id is None:
        return ()
    return tuple((subscription_id, recovery) for recovery in case.history.recoveries(subscription_id))


def recovery_event(case: Case, mapping: FamilyMapping, subscription_id: str, recovery: Recovery) -> Further:
    """The event of a recovery, by whichever webhook; the lapse names it, and so any order of arrival gives it this id.

    Its status is the one that holds by now: the webhook's own may be the lapse's. What a lapse's body shows of its time
    is over; the next billing that was known before it is a newer one.
    """
    heard, name = len(case.notes), UNPAUSED if recovery.of_pause else REACTIVATED
    attributes = event_attributes(case, Row(case.type, name), replace(mapping, status=None))
    del case.notes[heard:]  # what is odd in the body is counted with its own event, or shown by `explain`
    known = case.history.subscription(subscription_id) if case.history is not None else None
    status = text(case.data.get("status")) if known is None else known.status
    if status is not None:
        attributes["subscription_status"] = status
        if status.lower() != "active":
            attributes["superseded"] = True
    if case.type in LAPSES and case.history is not None:
        for of_then in OF_THE_LAPSE:
            attributes.pop(of_then, None)
        before = case.history.before(subscription_id)
        of_both = [one.next_billing for one in (before, known) if one is not None and one.next_billing is not None]
        case.date(attributes, "next_billing", next(iter(of_both), None))
    op_id = ulid(recovery.lapsed_ms, name, "fact", subscription_id, str(recovery.lapsed_ms))
    return Further(name, op_id, recovery.at_ms, attributes)
