"""`trial_started` and `trial_converted`, where the operator wants them: each once a subscription, in any order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Final

from pipeline.transform.fields import elements, members, text
from pipeline.transform.mapping.case import Attributes, Case
from pipeline.transform.mapping.events import event_attributes, event_id
from pipeline.transform.mapping.further import CONVERTED, STARTED, Further
from pipeline.transform.mapping.goods import put_payment_amount, put_plan
from pipeline.transform.mapping.rows import FamilyMapping, Key, Row
from pipeline.transform.mapping.trials import conversion_of
from pipeline.transform.profile import Charge
from pipeline.transform.timestamps import DAY_MS
from pipeline.transform.ulid import ulid

CONVERSION_MS: Final = 14 * DAY_MS
"""How old a charge may be that a webhook sends as a trial's conversion: Dodo replays what is two weeks old. Whoever
wants the events of trials from now on does not get those of former years at each subscription's next webhook."""

MOMENT_MS: Final = 60_000
"""How long before its charge a plan change may be stamped whose webhook shows the plan that is paid for."""

BY_SUBSCRIPTION: Final = Key(("subscription_id",))


def trial_events(case: Case, row: Row, mapping: FamilyMapping) -> Iterator[Further]:
    """What this webhook shows of a trial; what is odd in its body is counted with its own event."""
    if not case.policy.emit_trial_events:
        return
    heard = len(case.notes)
    found = [*_of_the_own_event(case, row, mapping)]
    if not any(further.name == CONVERTED for further in found):
        found += _conversions(case, mapping)
    del case.notes[heard:]
    yield from found


def _of_the_own_event(case: Case, row: Row, mapping: FamilyMapping) -> Iterator[Further]:
    """What stands beside the start or a renewal, whether or not that is out: another activation may have sent it."""
    if row.event not in {"subscription_started", "subscription_renewed"}:
        return
    attributes = event_attributes(case, row, mapping)
    name, told = (STARTED, "is_trial") if row.event == "subscription_started" else (CONVERTED, "is_trial_conversion")
    if attributes.get(told) is True:
        yield Further(name, event_id(case, Row(case.type, name, key=BY_SUBSCRIPTION), name), case.event_ms, attributes)


def _conversions(case: Case, mapping: FamilyMapping) -> Iterator[Further]:
    """By the charges that are known, whichever webhook made it so.

    The charge of a plan change waits for what shows the plan: who took the larger one is not thanked for the other.
    """
    if case.history is None:
        return
    for subscription_id in _subscriptions(case):
        course = case.history.course(subscription_id)
        charge = conversion_of(course)
        if charge is None or case.snapshot_s * 1000 - charge.at_ms > CONVERSION_MS:
            continue
        if charge.charge_type != "plan_change" or course.seen_ms >= charge.at_ms - MOMENT_MS:
            op_id = ulid(course.created_at_ms, CONVERTED, "fact", subscription_id)
            yield Further(CONVERTED, op_id, charge.at_ms, _attributes(case, mapping, subscription_id, charge))


def _subscriptions(case: Case) -> list[str]:
    if case.type == "payment.succeeded":
        return case.paid.subscriptions
    found = text(case.data.get("subscription_id")) if case.type.startswith("subscription.") else None
    return [] if found is None else [found]


def _attributes(case: Case, mapping: FamilyMapping, subscription_id: str, charge: Charge) -> Attributes:
    """What a renewal's event would carry, by a subscription's webhook of then, else by what is known of the plan.

    A next billing that does not lie behind the charge was the trial's end.
    """
    if case.type.startswith("subscription.") and case.event_ms >= charge.at_ms - MOMENT_MS:
        mapping = replace(mapping, status=None)
    else:
        mapping = FamilyMapping((), partial(_known_plan, subscription_id), ())
    into = event_attributes(case, Row(case.type, CONVERTED), mapping)
    if into.get("next_billing_unix", 0) * 1000 <= charge.at_ms:
        for name in ("next_billing", "next_billing_unix"):
            into.pop(name, None)
    for name in ("trial_ends_at", "trial_ends_at_unix"):
        into.pop(name, None)
    into |= {"is_trial": False, "is_trial_conversion": True, "payment_id": charge.payment_id}
    payment = case.history.payment(charge.payment_id) if case.history is not None else None
    if payment is not None:
        put_payment_amount(case, into, payment.minor, payment.currency)
    return into


def _known_plan(subscription_id: str, case: Case, _row: Row, into: Attributes) -> None:
    """The plan as the state knows it; the period that is paid for ends at the next billing."""
    into["subscription_id"] = subscription_id
    plan = case.history.subscription(subscription_id) if case.history is not None else None
    if plan is not None:
        put_plan(case, into, plan)
        case.date(into, "next_billing", plan.next_billing)
    for element in elements(case.data.get("service_periods")):
        period = members(element)
        if text(period.get("subscription_id")) == subscription_id:
            case.date(into, "next_billing", period.get("ends_at"))
