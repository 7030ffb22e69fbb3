"""Who a person is at Customer.io: the chain of `PIPELINE_PERSON_ID`, first hit wins.

One customer never becomes two people: whom a body with the customer object, or Dodo's API, once gave stays (sticky, in
the state), and a chain is walked in the same order for every body. A body that names the customer by id alone goes by
what is known, and settles nothing: what it lacks the next one may have. Test-mode people are prefixed and never go by
an e-mail address, which a live person may have.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pipeline.customerio.limits import PERSON_ID_MAX_BYTES
from pipeline.transform.fields import email, members, scalar, text
from pipeline.transform.person_ids import is_placeholder, person_id
from pipeline.transform.profile import Person, PersonProfile
from pipeline.transform.verdicts import Mode

TEST_PREFIX: Final = "test_"
CUSTOMER_ID_STEP: Final = "customer_id"
EMAIL_STEP: Final = "email"

_ID_ONLY: Final = frozenset({CUSTOMER_ID_STEP})


def person_of(
    chain: tuple[str, ...],
    customer: Mapping[str, Any],
    data: Mapping[str, Any],
    *,
    mode: Mode = "live",
    profile: PersonProfile | None = None,
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
    if sticky is not None and not stands_for_nobody(sticky.id, sticky.step):
        # With `email` the rule stays and the address follows the customer.
        if sticky.step != EMAIL_STEP:
            return sticky
        current = _value(EMAIL_STEP, customer, data, mode=mode, profile=profile)
        return Person(current, sticky.step) if current is not None else sticky
    decides = chain[0] == CUSTOMER_ID_STEP or tells_more(customer) or (profile is not None and is_known(profile))
    for step in chain:
        found = _value(step, customer, data, mode=mode, profile=profile)
        if found is not None:
            stands_in = step == CUSTOMER_ID_STEP and not decides
            return Person(found, None if stands_in else step, settles=decides)
    customer_id = customer_id_of(customer, data)
    if customer_id is not None and (mode == "test" or email(customer.get("email")) is None):
        found = _outgoing(customer_id, mode)
        return Person(found, None, settles=False) if found is not None else None
    return None


def stands_for_nobody(person_id: str, step: str | None) -> bool:
    """Whether a person of the state was named by a placeholder, which versions before took for an id."""
    return step is not None and is_metadata(step) and is_placeholder(person_id)


def is_metadata(step: str) -> bool:
    """Whether a step asks the metadata."""
    return step not in {CUSTOMER_ID_STEP, EMAIL_STEP}


def tells_more(customer: Mapping[str, Any]) -> bool:
    """Whether a body's customer object has more than the id."""
    return bool(customer) and not customer.keys() <= _ID_ONLY


def is_known(profile: PersonProfile) -> bool:
    """Whether a body with the customer object, or an answer of Dodo's API, was seen of the customer before."""
    contact = profile.contact
    return contact.email is not None or contact.name is not None or contact.phone is not None or bool(profile.metadata)


def passed_over(chain: tuple[str, ...], customer: Mapping[str, Any], data: Mapping[str, Any]) -> str | None:
    """The first metadata step under which this body has a value that is no id; None: there is none."""
    sources = (members(customer.get("metadata")), members(data.get("metadata")))
    for step in chain:
        if not is_metadata(step):
            continue
        key = step.removeprefix("metadata.")
        values = [value for source in sources if (value := source.get(key)) is not None]
        if any(scalar(value) is None or person_id(value) is None for value in values):
            return step
    return None


def _value(
    step: str,
    customer: Mapping[str, Any],
    data: Mapping[str, Any],
    *,
    mode: Mode,
    profile: PersonProfile | None,
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
                person_id(members(customer.get("metadata")).get(key))
                or person_id(members(data.get("metadata")).get(key))
                or (person_id(profile.metadata.get(key)) if profile else None)
            )
    return None if found is None else _outgoing(found, mode)


def customer_id_of(customer: Mapping[str, Any], data: Mapping[str, Any]) -> str | None:
    """The customer's own id: that of the customer object, else the one beside it."""
    return text(customer.get("customer_id")) or text(data.get("customer_id"))


def _outgoing(value: str, mode: Mode) -> str | None:
    """The id as it goes out, None when Customer.io would refuse its length."""
    found = f"{TEST_PREFIX}{value}" if mode == "test" else value
    return found if len(found.encode("utf-8", "replace")) <= PERSON_ID_MAX_BYTES else None
