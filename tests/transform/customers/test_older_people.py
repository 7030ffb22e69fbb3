"""Identities that versions before wrote: read on, and nobody is moved to another person without a word."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from pipeline.dodo import samples
from pipeline.statestore.store import MemoryStore
from pipeline.transform.customers import identity
from pipeline.transform.customers.customer_view import CustomerView
from pipeline.transform.customers.facts import checked, identity_key, key, merge
from pipeline.transform.customers.observations import nothing
from pipeline.transform.decision import Decision, decide
from pipeline.transform.mapping import map_webhook
from pipeline.transform.policy import Policy
from pipeline.transform.profile import Addressed
from pipeline.transform.verdicts import Operations
from tests.records import Consumed

POLICY = Policy(person_id_chain=("metadata.user_id", "customer_id"))
MERGING = Policy(person_id_chain=("metadata.user_id", "customer_id"), merge_default_id=True)
MERGING_ADDRESSES = Policy(person_id_chain=("metadata.user_id", "customer_id"), merge_on_email_change=True)
CUSTOMER = b"cus_1"
BY_THE_ID_ALONE = b'[1,1790000000,null,null,[1790000000,1790000000000,"cus_1","customer_id"],null,null,null,null,{}]'
PLACEHOLDER = (
    b'[3,1790000000,"99999999999999999999999999999999",null,[1790000000,1790000000000,"undefined","metadata.user_id"],'
    b'[1790000000,1790000000000,"jane@example.com"],[1790000000,1790000000000,"Jane"],null,null,'
    b'{"user_id":[1790000000,1790000000000,"undefined"]}]'
)
NAMED_BADLY = BY_THE_ID_ALONE.replace(b'"cus_1","customer_id"', b'"cafe\xcc\x81\xe2\x80\x8b","metadata.user_id"')
NOBODY_YET = b'[1,1790000000,null,null,null,null,null,null,[1790000000,1790000000000,"KR"],{}]'


def store_with(fact: bytes, *more: tuple[bytes, bytes]) -> MemoryStore:
    """A state that an earlier version left."""
    store = MemoryStore()
    assert checked("identity", fact) is not None
    store.put(identity_key(CUSTOMER), fact)
    for name, value in more:
        store.put(name, value)
    return store


def payment(store: MemoryStore, policy: Policy = POLICY, **metadata: Any) -> tuple[Decision, Operations]:
    """A payment of a later day, with this metadata."""
    body = orjson.loads(samples.load("payment.succeeded"))
    body["timestamp"] = "2026-11-01T10:00:00Z"
    body["data"]["customer"] |= {"customer_id": "cus_1", "metadata": metadata}
    headers = (("webhook-id", b"msg_9"), ("webhook-timestamp", b"1793527202"))
    decision = decide(Consumed(orjson.dumps(body), headers, CUSTOMER), policy, map_webhook, store)
    assert isinstance(decision.verdict, Operations)
    return decision, decision.verdict


@pytest.mark.parametrize("policy", [POLICY, MERGING])
def test_whom_a_body_with_the_id_alone_named(policy: Policy) -> None:
    """The person stays: nobody can tell any more what decided. A note counts that a body says another."""
    _, verdict = payment(store_with(BY_THE_ID_ALONE), policy, user_id="u_7")
    assert verdict.person_key == b"cus_1"
    assert "kept-person" in verdict.notes
    assert {operation.kind for operation in verdict.operations} == {"identify", "event"}


@pytest.mark.parametrize("metadata", [{}, {"user_id": "undefined"}, {"user_id": "caf\u00e9"}])
def test_an_id_that_would_be_written_otherwise_now(metadata: dict[str, Any]) -> None:
    """Sent as it was sent before, byte for byte."""
    _, verdict = payment(store_with(NAMED_BADLY), **metadata)
    assert verdict.person_key == "cafe\u0301\u200b".encode()


@pytest.mark.parametrize("policy", [POLICY, MERGING, MERGING_ADDRESSES])
@pytest.mark.parametrize(
    ("metadata", "person"), [({"user_id": "undefined"}, b"cus_1"), ({}, b"cus_1"), ({"user_id": "u_7"}, b"u_7")]
)
def test_strangers_who_were_one_placeholder(policy: Policy, metadata: dict[str, Any], person: bytes) -> None:
    """Each goes by the next step, as a new person, with a note; what lies behind the placeholder is never merged."""
    store = store_with(PLACEHOLDER)
    _, verdict = payment(store, policy, **metadata)
    assert verdict.person_key == person
    assert [operation.kind for operation in verdict.operations] == ["identify", "event"]
    assert verdict.operations[0].barrier
    assert "left-person" in verdict.notes
    view = CustomerView(store, CUSTOMER, nothing(0))
    assert view.person is not None
    assert view.person.id.encode() == person
    _, again = payment(store, policy, **metadata)
    assert "left-person" not in again.notes


@pytest.mark.parametrize(
    ("policy", "kinds"), [(POLICY, ["identify", "event"]), (MERGING, ["identify", "merge", "event"])]
)
def test_events_alone_went_to_the_stand_in(policy: Policy, kinds: list[str]) -> None:
    """A version before left no name then; that an event is out tells enough."""
    store = store_with(NOBODY_YET, (key(CUSTOMER, "event", "01KJYPZCN0DEB79T60B04WC4EP"), b"[1790000000]"))
    _, verdict = payment(store, policy, user_id="u_7")
    assert [operation.kind for operation in verdict.operations] == kinds
    assert ("left-person" in verdict.notes) == ("merge" not in kinds)


def test_nothing_went_anywhere() -> None:
    """Of a customer who was only filled in nothing is left behind."""
    _, verdict = payment(store_with(NOBODY_YET), MERGING, user_id="u_7")
    assert [operation.kind for operation in verdict.operations] == ["identify", "event"]
    assert "left-person" not in verdict.notes


def test_a_placeholder_that_comes_back() -> None:
    """A slow earlier owner writes it over the better person: merged, the better one stays, in either order."""
    better = orjson.loads(PLACEHOLDER)
    better[identity.PERSON] = [1793527202, 1793527200000, "cus_1", "customer_id"]
    for old, new in ((PLACEHOLDER, orjson.dumps(better)), (orjson.dumps(better), PLACEHOLDER)):
        assert orjson.loads(merge("identity", old, new))[identity.PERSON] == better[identity.PERSON]


@pytest.mark.parametrize(
    ("fact", "went_to"),
    [
        (BY_THE_ID_ALONE, Addressed("cus_1", "id")),
        (PLACEHOLDER, Addressed("undefined", "id")),
        (NOBODY_YET, None),
        (NOBODY_YET.replace(b"null,null,null", b'null,"cus_1",null', 1), Addressed("cus_1", "id", stood_in=True)),
        (PLACEHOLDER.replace(b'9",null', b'9","cus_1"'), Addressed("cus_1", "id", stood_in=True)),
        (
            PLACEHOLDER.replace(b'"undefined","metadata.user_id"', b'"a@example.com","email"'),
            Addressed("a@example.com", "email"),
        ),
        (
            PLACEHOLDER.replace(b'"undefined","metadata.user_id"', b'"a@example.com","email"').replace(
                b'9",null', b'9","b@example.com"'
            ),
            Addressed("b@example.com", "email"),
        ),
    ],
)
def test_whom_operations_went_to(fact: bytes, went_to: Addressed | None) -> None:
    """Read off the fact, whichever version wrote it."""
    assert CustomerView(store_with(fact), CUSTOMER, nothing(0)).addressed == went_to
