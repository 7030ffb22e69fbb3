"""The identify of a person who is the sum of several customers: with the policy `email`, whoever has the address."""

from __future__ import annotations

from collections.abc import Iterable

from pipeline.customerio import operations as track
from pipeline.dodo.envelope import Envelope
from pipeline.errors import OperationError, OversizeError
from pipeline.transform.mapping.case import Attributes, Case
from pipeline.transform.mapping.identify import identify_attributes, identity_of, sum_attributes
from pipeline.transform.policy import Policy
from pipeline.transform.profile import Profile
from pipeline.transform.verdicts import DeadLettered, Delivery, MappedOperation, Operations


def map_person(
    address: str, delivery: Delivery, policy: Policy, profile: Profile, named: Iterable[str], *, again: bool
) -> tuple[Operations | DeadLettered | None, list[str]]:
    """The identify with the sums, and the attributes that by now have been on the profile.

    It is no barrier: the identify of the customer's owner, which lies before it, was one.

    Args:
        address: the person, in lower case.
        delivery: of the command that brought the news; its time is that of the identify.
        policy: the operator's settings.
        profile: the person.
        named: attributes that were sent at any time. What is not known any more becomes null, which removes it.
        again: send it even if it changes nothing here.
    """
    case = Case(Envelope("share", None, None, {}, {}), delivery, policy, profile)
    sums: Attributes = {}
    sum_attributes(case, sums, profile)
    names = sorted({*named, *sums})
    about = {**identify_attributes(case, None, None, with_sums=False), **sums}
    for name in names:
        about.setdefault(name, None)
    if not about:
        return None, names
    operations: tuple[MappedOperation, ...] = ()
    try:
        told = case.fitted(about)
        identity = identity_of(told)
        if again or identity != profile.identity:
            body = track.identify(address, told, timestamp_s=profile.delivered_at_s, identifier="email")
            operations = (MappedOperation(f"{delivery.webhook_id}:identify", body, False, "identify", None),)
        else:
            case.notice("unchanged-identify", "the identify would change nothing: not sent")
    except OversizeError as error:
        return DeadLettered("oversize", str(error), field=error.field), names
    except OperationError as error:
        return DeadLettered("unmappable", str(error), field=error.field), names
    verdict = Operations(
        person_key=address.encode(),
        operations=operations,
        event_time_ms=case.event_ms,
        warnings=tuple(case.warnings),
        notes=tuple(case.notes),
        identity=identity,
    )
    return verdict, names
