"""Who a person is at Customer.io: the chain of `PIPELINE_PERSON_ID`, first hit wins.

One customer never becomes two people: the step that once hit stays (sticky, in the state), and a chain is walked in
the same order for every body. Test-mode people are prefixed and never go by an e-mail address, which a live person may
have.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pipeline.customerio.limits import PERSON_ID_MAX_BYTES
from pipeline.transform.fields import email, members, text
from pipeline.transform.profile import Person, Profile
from pipeline.transform.verdicts import Mode

TEST_PREFIX: Final = "test_"
CUSTOMER_ID_STEP: Final = "customer_id"
EMAIL_STEP: Final = "email"


def person_of(
    chain: tuple[str, ...],
    customer: Mapping[str, Any],
    data: Mapping[str, Any],
    *,
    mode: Mode = "live",
    profile: Profile | None = None,
) -> Person | None:
    """The person that a webhook is about, None when nothing resolves.

    A body that knows no more of the customer than the id cannot follow a chain of other steps; then the customer's id
    stands in, and `step` is None.

    Args:
        chain: steps `customer_id`, `email`, `metadata.<key>`.
        customer: the body's customer object, empty when it has none.
        data: the body's `data`.
        mode: of the endpoint that the webhook came through.
        profile: the customer's state; not looked at in test mode.
    """
    if mode == "test":
        profile = None
    sticky = profile.person if profile is not None else None
    if sticky is not None:
        # With `email` the rule stays and the address follows the customer.
        if sticky.step != EMAIL_STEP:
            return sticky
        current = _value(EMAIL_STEP, customer, data, mode=mode, profile=profile)
        return Person(current, sticky.step) if current is not None else sticky
    for step in chain:
        found = _value(step, customer, data, mode=mode, profile=profile)
        if found is not None:
            return Person(found, step)
    customer_id = customer_id_of(customer, data)
    if customer_id is not None and (mode == "test" or email(customer.get("email")) is None):
        found = _outgoing(customer_id, mode)
        return Person(found, None) if found is not None else None
    return None


def _value(
    step: str,
    customer: Mapping[str, Any],
    data: Mapping[str, Any],
    *,
    mode: Mode,
    profile: Profile | None,
) -> str | None:
    match step:
        case "customer_id":
            found = customer_id_of(customer, data)
        case "email":
            if mode == "test":
                return None
            address = (profile.contact.email if profile else None) or email(customer.get("email"))
            found = address.strip().lower() if address else None
        case _:
            key = step.removeprefix("metadata.")
            found = (
                text(members(customer.get("metadata")).get(key))
                or text(members(data.get("metadata")).get(key))
                or (text(profile.metadata.get(key)) if profile else None)
            )
    return None if found is None else _outgoing(found, mode)


def customer_id_of(customer: Mapping[str, Any], data: Mapping[str, Any]) -> str | None:
    """The customer's own id: that of the customer object, else the one beside it."""
    return text(customer.get("customer_id")) or text(data.get("customer_id"))


def _outgoing(value: str, mode: Mode) -> str | None:
    """The id as it goes out, None when Customer.io would refuse its length."""
    found = f"{TEST_PREFIX}{value}" if mode == "test" else value
    return found if len(found.encode()) <= PERSON_ID_MAX_BYTES else None
