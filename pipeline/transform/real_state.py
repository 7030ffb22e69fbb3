"""Copies the real facts of some webhooks' customers from their topic, so that a journey can begin with them.

Where customers are added up as people, the people's facts are needed as well; who they are comes out only when the
webhooks are decided. So they are decided once over a copy that is thrown away, and the people's facts are read then.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.dodo.envelope import Envelope, parse, webhook_id_of
from pipeline.errors import UnreadableBodyError
from pipeline.settings import Settings
from pipeline.statestore.draft import Draft
from pipeline.statestore.store import MemoryStore
from pipeline.transform.copies import Copy
from pipeline.transform.customers.customer_view import CustomerView
from pipeline.transform.customers.facts import customer_key
from pipeline.transform.customers.known_facts import KnownFacts, read_facts
from pipeline.transform.customers.observations import nothing
from pipeline.transform.customers.reading import Told, nobody
from pipeline.transform.journey import Walk
from pipeline.transform.mapping.case import Case
from pipeline.transform.mapping.identify import identify_attributes
from pipeline.transform.policy import Policy
from pipeline.transform.timestamps import iso
from pipeline.transform.verdicts import Delivery
from pipeline.transform.webhook import Webhook


@dataclass(frozen=True, slots=True)
class KnownCustomer:
    """One customer as the state knew them before the webhooks.

    Attributes:
        id: Dodo's.
        partition: the owner's, of the customers' topic.
        facts: how many there are; 0: nothing is known.
        forgotten_s: when they were forgotten, unix seconds; 0: never.
        attributes: of the customer's profile, by these settings; those of the customer alone, where people are several.
    """

    id: str
    partition: int
    facts: int
    forgotten_s: int
    attributes: dict[str, Any]

    def document(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "customer_id": self.id,
            "partition": self.partition,
            "facts": self.facts,
            "forgotten_at": iso(self.forgotten_s * 1000) if self.forgotten_s else None,
            "attributes": self.attributes,
        }


@dataclass(frozen=True, slots=True)
class RealState:
    """A state to begin with, and whom it knows."""

    store: MemoryStore
    customers: tuple[KnownCustomer, ...]


async def read_state(settings: Settings, webhooks: Sequence[Copy], *, now_ms: int, told: Told = nobody) -> RealState:
    """The state of the customers whom `webhooks` name.

    Args:
        settings: the brokers, the topic and the policy.
        webhooks: live ones; what is unreadable or names nobody is passed over.
        now_ms: when a state begins that has not begun yet, unix milliseconds.
        told: called with how many records were read, and of how many.

    Raises:
        SettingsError, RulesError: the policy cannot be used.
        TopicError: the customers' topic is missing, may not be read, or holds what this version cannot use.
        BrokerUnreachableError: no broker answered.
    """
    policy = Policy.of(settings)
    customers = dict(_customers(webhooks))
    facts = await read_facts(settings, customers.values(), told)
    known = tuple(_known(id_, customer, facts, policy, now_ms) for id_, customer in customers.items())
    if policy.pools:
        trial = Walk(policy, mode="live", store=facts.store(now_ms))
        for copy in webhooks:
            trial.decide(copy, copy.webhook_id or webhook_id_of((), copy.body))
        facts = facts.joined(await read_facts(settings, sorted(trial.told), told))
    return RealState(facts.store(now_ms), known)


def _customers(webhooks: Iterable[Copy]) -> Iterable[tuple[str, bytes]]:
    """Whom they are about, each with the part of keys."""
    for copy in webhooks:
        try:
            envelope = parse(copy.body)
        except UnreadableBodyError:
            continue
        id_ = Webhook(envelope, Delivery("")).customer_id
        customer = customer_key(id_)
        if id_ is not None and customer is not None:
            yield id_, customer


def _known(id_: str, customer: bytes, facts: KnownFacts, policy: Policy, now_ms: int) -> KnownCustomer:
    view = CustomerView(Draft(facts.store(now_ms)), customer, nothing(0))
    case = Case(Webhook(Envelope("state", None, None, {}, {}), Delivery("state")), policy, view, view)
    count = facts.count(customer)
    attributes = identify_attributes(case, None, None) if count else {}
    return KnownCustomer(id_, facts.owner(customer), count, view.forgotten_s, attributes)
