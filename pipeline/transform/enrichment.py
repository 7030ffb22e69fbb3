"""Customers whom a webhook names by id alone, put into the state before the webhook is mapped.

Licences, credits, checkouts, dunnings and grants carry no customer object. Where the state has no address either, what
Dodo's API returns for the customer becomes a fact of the state, as a backfilled customer does, and the mapping finds it
there like any other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from pipeline import logs
from pipeline.statestore.draft import Draft, is_the_process_s
from pipeline.statestore.store import KeyValueStore
from pipeline.transform.customers.commands import is_too_large
from pipeline.transform.customers.customer_view import CustomerView
from pipeline.transform.customers.facts import customer_key
from pipeline.transform.customers.observations import nothing, of_api_object
from pipeline.transform.failures import where
from pipeline.transform.fields import email, text
from pipeline.transform.mapping.table import TABLE
from pipeline.transform.policy import Policy
from pipeline.transform.resolver import Asking, FoundCustomer, Resolver
from pipeline.transform.webhook import Reading, Webhook

CUSTOMER_OBJECT: Final = (b'"customer":{', b'"customer": {')
ADDRESS: Final = b'"email"'
"""With these members a body itself describes the customer. Nothing else called so is an object: metadata is flat."""

VOLUME: Final = "credit.deducted"
"""Dropped by default, and the most frequent type: nobody is asked for what is not sent."""


log = logs.get(__name__)


@dataclass(frozen=True, slots=True)
class CustomerLookedUp:
    """A customer was asked for. `nobody`: Dodo does not know it, or could not be asked in time."""

    outcome: Literal["found", "nobody"]


class Enrichment:
    """The step before the decision.

    Args:
        resolver: asks Dodo.
        policy: the operator's settings.
        observe: called with each customer that was looked up.
    """

    def __init__(
        self,
        resolver: Resolver,
        policy: Policy,
        observe: Callable[[CustomerLookedUp], None] = lambda _: None,
    ) -> None:
        self._resolver = resolver
        self._policy = policy
        self._observe = observe

    def unknown_customer(self, reading: Reading, store: KeyValueStore) -> str | None:
        """The id of the customer of whom neither the webhook nor the state knows an address; None: nobody to ask for.

        Nothing is asked of test-mode customers, whom the live API does not know, of forgotten ones, nor of those whose
        facts lie elsewhere.
        """
        if type(reading) is not Webhook or reading.delivery.mode != "live":
            return None
        body = reading.record.value if reading.record is not None else None
        if body is None or (body.find(ADDRESS) >= 0 and any(body.find(sign) >= 0 for sign in CUSTOMER_OBJECT)):
            return None
        type_, customer_id = reading.envelope.type, reading.customer_id
        if type_ not in TABLE or (type_ == VOLUME and not self._policy.emit_credit_deducted):
            return None
        customer = customer_key(customer_id)
        if customer is None or not (store.ownership is None or store.ownership.owns(customer)):
            return None
        try:
            view = CustomerView(store, customer, nothing(0))
        except Exception as error:
            if is_the_process_s(error):
                raise
            return None
        return None if view.contact.email is not None or view.forgotten_s else customer_id

    def ask(self, customer_id: str, *, waits: bool) -> FoundCustomer | Asking | None:
        """What Dodo knows of the customer; a question to wait for, if the caller `waits`; None: go on without."""
        found = self._resolver.ask(customer_id)
        if isinstance(found, FoundCustomer):
            self._observe(CustomerLookedUp("found"))
            return found
        if found is not None and waits:
            return found
        self._observe(CustomerLookedUp("nobody"))
        return None

    def put(self, found: FoundCustomer, customer_id: str, store: KeyValueStore) -> None:
        """Put Dodo's answer into the store, as of when it was true.

        An answer about somebody else, or without an address, is ignored.
        """
        customer, told = customer_key(customer_id), found.customer
        if customer is None or text(told.get("customer_id")) != customer_id or email(told.get("email")) is None:
            return
        person = {**told, "customer_id": customer_id}
        draft = Draft(store)
        try:
            shown = of_api_object("customer", person, person, found.at_s, self._policy)
            CustomerView(draft, customer, shown).settle(None)
        except Exception as error:
            if is_the_process_s(error):
                raise
            log.warning("What Dodo's API told of a customer could not be taken in: a bug to report", at=where(error))
            return
        if is_too_large(draft, ()):
            return  # the webhook goes on by what is known
        draft.commit()

    async def close(self) -> None:
        """Close the connections."""
        await self._resolver.close()
