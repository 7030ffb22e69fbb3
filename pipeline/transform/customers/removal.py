"""Decides whom a request to be forgotten removes at Customer.io: the person whom the state knows, never a guess.

A wrong id is worse than none: the person stays, somebody else goes, and nobody hears of it.
"""

from __future__ import annotations

from typing import Final

from pipeline.transform.customers import identity
from pipeline.transform.customers.customer_view import CustomerView
from pipeline.transform.customers.facts import Fact
from pipeline.transform.customers.requests import ID, STEP, latest_person
from pipeline.transform.identity import EMAIL_STEP, person_of
from pipeline.transform.profile import Person

CUSTOMER_ID: Final = "customer_id"


class OnlyDigest:
    """The person went by an address, and of that a digest alone is left."""


def whom(
    customer_id: str, chain: tuple[str, ...], view: CustomerView, request: Fact | None
) -> Person | OnlyDigest | None:
    """Who the customer is at Customer.io; None when it cannot be known.

    Args:
        customer_id: Dodo's id.
        chain: the identity policy.
        view: what is known of the customer now.
        request: what an earlier request has left.
    """
    found = person_of(chain, {}, {CUSTOMER_ID: customer_id}, profile=view)
    if view.person is not None:
        return found
    if view.identified is not None:
        return Person(view.identified, found.step if found is not None and found.id == view.identified else None)
    if view.summary.identity != identity.empty() and found is not None and found.step is not None:
        return found  # nothing was sent about them yet, and this is who they would have become
    if view.summary.head is not None and found is not None:
        return found  # an event is out, and nobody was named before it: it went to the stand-in
    before = latest_person(request)
    if before is not None:
        return Person(before[ID], before[STEP]) if before[ID] is not None else OnlyDigest()
    # No fact, and the policy goes by the one id that the request itself has.
    return found if chain[:1] == (CUSTOMER_ID,) else None


def addressed(view: CustomerView, shared: Fact | None) -> set[str]:
    """Whom operations about the customer may have gone to besides: a stand-in of earlier, an address."""
    before = view.addressed
    found = {view.identified, before.id if before is not None else None, shared[1] if shared is not None else None}
    if view.person is not None and view.person.step == EMAIL_STEP:
        found |= {view.person.id, view.contact.email and view.contact.email.strip().lower()}
    return {who for who in found if who is not None}
