"""The events that can be sent, from the rows that decide them: when, with which attributes, for which campaigns."""

from __future__ import annotations

from typing import Final, NamedTuple

from pipeline.transform.mapping.campaigns import campaigns_of
from pipeline.transform.mapping.further import FURTHER
from pipeline.transform.mapping.rows import ALWAYS, FamilyMapping, Row, reference_row
from pipeline.transform.mapping.table import TABLE
from pipeline.transform.mapping.vocabulary import CREDIT_AMOUNT, EVENT, Attribute

COMMON: Final = (
    "dodo_event_type",
    "webhook_id",
    "brand_id",
    "email",
    "name",
    "first_name",
    "manage_subscription_url",
)
"""What every event carries, where it is known and wanted."""

MAIN_AMOUNT: Final = ("payment.", "refund.", "subscription.")
"""Types whose event is marked when it has no amount to print."""

ALONE: Final = {
    "payment_completed": ("is_trial_conversion",),
    "subscription_cancellation_scheduled": ("ends_at",),
    "subscription_renewed": ("is_trial_conversion", "payment_id", "payment_amount", "payment_currency"),
    "subscription_plan_changed": ("previous_product_id", "previous_product_name", "previous_amount", "direction"),
}
"""What single events carry beside what their family does."""

_NO_PURCHASE: Final = (
    "payment_failed",
    "payment_cancelled",
    "payment_processing",
    "payment_action_required",
    "payment_method_updated",
    "free_checkout_completed",
)

WITHOUT: Final = {
    "refund_failed": ("fully_refunded", "refunded_total"),
    **dict.fromkeys(_NO_PURCHASE, ("is_first_payment",)),
    **{f"subscription_{status}": ("next_billing",) for status in ("cancelled", "expired", "failed")},
}
"""What single events do not carry though their family does."""

HINTS: Final = ("card_last_four", "card_exp_month", "card_exp_year")


class When(NamedTuple):
    """A Dodo type that sends the event, the condition in words (empty: always), and what names the fact."""

    type: str
    condition: str
    key: str


class EventReference(NamedTuple):
    """One event: by which webhooks, its attributes under their plain names, the campaigns that start from it."""

    event: str
    when: tuple[When, ...]
    attributes: dict[str, Attribute]
    campaigns: tuple[str, ...]


def event_references() -> tuple[EventReference, ...]:
    """All events by name."""
    found: dict[str, list[tuple[FamilyMapping, Row, When]]] = {}
    for mapping, rows in TABLE.values():
        for index, row in enumerate(rows):
            if row.event is None:
                continue
            line = reference_row(row, mapping, first=index == 0)
            condition = ALWAYS if line.condition == "else" and index == 0 else line.condition
            found.setdefault(row.event, []).append((mapping, row, When(row.type, condition, line.key)))
    beside = {
        event: tuple(When(type_, further.words, further.key) for type_ in further.types)
        for event, further in FURTHER.items()
    }
    references = [
        EventReference(
            event,
            (*(when for _, _, when in lines), *beside.pop(event, ())),
            _attributes(event, lines[0][0], lines[0][1].type),
            campaigns_of(event),
        )
        for event, lines in found.items()
    ]
    subscription = found["subscription_started"][0][0]
    for event, when in beside.items():
        attributes = _attributes(event, subscription, "subscription.active")
        if event == "trial_converted":
            attributes |= {name: EVENT[name] for name in ALONE["subscription_renewed"]}
        references.append(EventReference(event, when, attributes, campaigns_of(event)))
    return tuple(sorted(references))


def _attributes(event: str, mapping: FamilyMapping, type_: str) -> dict[str, Attribute]:
    names = [*COMMON]
    if mapping.status is not None:
        names += [mapping.status.attribute, "superseded"]
    if type_.startswith(MAIN_AMOUNT):
        names.append("amount_unusable")
    for link in mapping.links:
        names += link.split(" or ")
    if type_.startswith("payment."):
        names += HINTS
    names += ALONE.get(event, ())
    left_out = WITHOUT.get(event, ())
    attributes = {name: EVENT[name] for name in dict.fromkeys(names) if name not in left_out}
    if event != "payment_failed":
        attributes.pop("failure_category", None)
    if type_.startswith("credit."):
        attributes["amount"] = CREDIT_AMOUNT
    return attributes
