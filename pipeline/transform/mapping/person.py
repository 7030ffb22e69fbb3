"""The identify of a person who may be several customers, with the sums of all of them."""

from __future__ import annotations

from collections.abc import Iterable

from pipeline.customerio import operations as track
from pipeline.dodo.envelope import Envelope
from pipeline.errors import OperationError, OversizeError, ShapingError
from pipeline.transform.mapping.case import Attributes, Case
from pipeline.transform.mapping.identify import identify_attributes, identity_of, sum_attributes
from pipeline.transform.mapping.shaped import failed, shaped_about
from pipeline.transform.policy import Policy
from pipeline.transform.profile import Addressed, PersonProfile
from pipeline.transform.verdicts import DeadLettered, Delivery, MappedOperation, Operations
from pipeline.transform.webhook import Webhook


def map_person(
    who: Addressed,
    delivery: Delivery,
    policy: Policy,
    profile: PersonProfile,
    *,
    named: Iterable[str],
    customers: int = 1,
    again: bool,
) -> tuple[Operations | DeadLettered | None, list[str]]:
    """The identify with the sums, and the attributes that by now have been on the profile.

    It is no barrier: the identify of the customer's owner, which lies before it, was one.

    Args:
        who: the person: an id, or an address in lower case.
        delivery: of the command that brought the news; its time is that of the identify.
        policy: the operator's settings.
        profile: the person.
        named: attributes that were sent at any time. What is not known any more becomes null, which removes it.
        customers: how many of Dodo's customers the person is.
        again: send it even if it changes nothing here.
    """
    case = Case(Webhook.of(Envelope("share", None, None, {}, {}), delivery), policy, profile)
    if customers > 1:
        case.notice("shared-person", f"{customers} customers at Dodo are this one person, with the totals of all")
    sums: Attributes = {}
    sum_attributes(case, sums, profile)
    names = sorted({*named, *sums})
    about = {**identify_attributes(case, None, None, with_sums=False), **sums}
    for attribute in names:
        about.setdefault(attribute, None)
    if not about:
        return None, names
    operations: tuple[MappedOperation, ...] = ()
    at_s: int | None = None
    shaper = policy.shaper
    try:
        if shaper is not None and not (about := shaped_about(shaper, case, about)):
            return None, names
        told = case.fitted(about)
        identity = identity_of(told)
        if again or identity != profile.identity:
            body = track.identify(who.id, told, timestamp_s=profile.delivered_at_s, identifier=who.identifier)
            operations = (MappedOperation(f"{delivery.webhook_id}:identify", body, False, "identify", None),)
            at_s = profile.delivered_at_s
        else:
            case.notice("unchanged-identify", "no profile update: nothing about the person changed")
    except ShapingError as error:
        return failed(error), names
    except OversizeError as error:
        return DeadLettered("oversize", str(error), field=error.field), names
    except OperationError as error:
        return DeadLettered("unmappable", str(error), field=error.field), names
    verdict = Operations(
        person_key=who.id.encode(),
        operations=operations,
        event_time_ms=case.event_ms,
        warnings=tuple(case.warnings),
        notes=tuple(case.notes),
        identity=identity,
        identified_at_s=at_s,
        not_before_s=case.not_before_s(at_s),
        shaped=shaper.version if shaper is not None else None,
    )
    return verdict, names
