"""One event: its name, its id, its attributes."""

from __future__ import annotations

from functools import lru_cache

from pipeline.customerio.limits import CAMPAIGN_WINDOW_S
from pipeline.transform.fields import members, text
from pipeline.transform.mapping.case import Attributes, Case
from pipeline.transform.mapping.identify import put_first_name, put_metadata
from pipeline.transform.mapping.rows import FamilyMapping, Row
from pipeline.transform.timestamps import plausible_ms
from pipeline.transform.ulid import ulid


@lru_cache(maxsize=256)
def title_of(name: str) -> str:
    """`payment_completed` as the vendor's recipe writes it: `Payment Completed`."""
    return " ".join(word.capitalize() for word in name.split("_"))


def event_id(case: Case, row: Row, name: str) -> str:
    """The ULID of the fact, or of the webhook where nothing in the body names one.

    Hashed with the canonical name, so that the style of names changes no id. Its time is the body's own, 0 without
    one: the time of an attempt would give each retry another id.
    """
    parts = row.key.parts(case) if row.key is not None else None
    if row.key is None or parts is None:
        return ulid(case.occurred_ms or 0, name, "webhook", case.delivery.webhook_id)
    created = plausible_ms(case.data.get(row.key.time))
    return ulid((created if created is not None else case.occurred_ms) or 0, name, "fact", *parts)


def spoken_ids(case: Case, rows: tuple[Row, ...]) -> tuple[str | None, list[str]]:
    """The ids by which the state knows that this very webhook has emitted an event, with whatever body.

    The body is read anew at each attempt, and may lead to another of the type's rows, or to another name of the fact.
    The first id stands for the webhook itself and is remembered beside an event that the fact names; None where no
    reading makes another event. The others are what the webhook's own id makes of each event of the type.
    """
    names = dict.fromkeys(row.event for row in rows if row.event is not None)
    keys = [row.key for row in rows if row.key is not None]
    if len(names) == 1 and not any(key.moves for key in keys):
        return None, []
    of_webhook = "webhook", case.delivery.webhook_id
    at_ms = case.occurred_ms or 0
    return spoken_id(case) if keys else None, [ulid(at_ms, name, *of_webhook) for name in names]


def spoken_id(case: Case) -> str:
    """The id by which the state remembers that this webhook has emitted an event."""
    return ulid(case.occurred_ms or 0, case.type, "spoken", case.delivery.webhook_id)


def event_attributes(case: Case, row: Row, mapping: FamilyMapping) -> Attributes:
    """What every event carries, then what its family adds."""
    into: Attributes = {"dodo_event_type": case.type, "webhook_id": case.delivery.webhook_id}
    if case.delivery.mode == "test":
        into["dodo_mode"] = "test"
    case.texts(into, "brand_id")
    if mapping.status is not None and (status := text(case.data.get(mapping.status.field))) is not None:
        into[mapping.status.attribute] = status
        if mapping.status.contradicts(case, status):
            into["superseded"] = True
            case.notice(
                "superseded", f"{mapping.status.attribute} contradicts the type: the event is marked superseded"
            )
    if case.email is not None:
        into["email"] = case.email
    if case.name is not None:
        into["name"] = case.name
        if case.policy.first_names:
            put_first_name(into, case.name, _country(case))
    mapping.attributes(case, row, into)
    if case.policy.portal_url is not None:
        case.manage_link(into, into.get("subscription_id") or _speaking(case))
    if case.policy.metadata:
        put_metadata(case, into, members(case.data.get("metadata")), members(case.customer.get("metadata")))
    return into


def _country(case: Case) -> str | None:
    known = case.profile.contact.country if case.profile is not None else None
    return known or case.contact.country


def _speaking(case: Case) -> str | None:
    """The subscription that the profile shows, for an event about none."""
    speaking = case.profile.speaking if case.profile is not None else None
    return None if speaking is None else speaking.subscription_id


def warn_if_late(case: Case, at_ms: int) -> None:
    """Customer.io starts no campaign for an event older than 72 hours, measured when the webhook was received."""
    received_ms = case.delivery.received_at_ms
    if received_ms is None and case.delivery.attempt_at_s is not None:
        received_ms = case.delivery.attempt_at_s * 1000
    if received_ms is not None and received_ms - at_ms > CAMPAIGN_WINDOW_S * 1000:
        case.notice("late-event", "the event is older than 72 hours: Customer.io starts no campaign for it")
