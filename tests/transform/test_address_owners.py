"""Two customers of one address, where people go by the customer's id."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from pipeline.dodo import samples
from pipeline.statestore.store import MemoryStore
from pipeline.transform.address_owners import AddressOwners
from pipeline.transform.decision import Decision, decide
from pipeline.transform.mapping import map_webhook
from pipeline.transform.policy import Policy
from tests.records import Consumed


def paid(customer_id: str, store: MemoryStore, policy: Policy = Policy(), **customer: Any) -> Decision:  # noqa: B008 - frozen
    """A payment of a customer of one address."""
    body = orjson.loads(samples.load("payment.succeeded"))
    body["data"]["customer"] |= {"customer_id": customer_id, "email": "ann@example.com"} | customer
    body["data"]["payment_id"] = f"pay_{customer_id}"
    headers = (("webhook-id", b"msg_1"), ("webhook-timestamp", b"1792660383"))
    return decide(Consumed(orjson.dumps(body), headers, customer_id.encode()), policy, map_webhook, store)


def test_the_second_one_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever the capitals; the first one, and one alone, is not."""
    owners, store = AddressOwners(), MemoryStore()
    assert not owners.is_shared(paid("cus_a", store))
    assert not owners.is_shared(paid("cus_a", store, name="Ann"))
    assert owners.is_shared(paid("cus_b", store, email="ANN@example.com"))
    assert owners.is_shared(paid("cus_b", store, name="Bea"))
    assert not owners.is_shared(paid("cus_a", store, name="Anna"))
    assert not owners.is_shared(paid("cus_c", store, email="bea@example.com"))
    assert not owners.is_shared(paid("cus_d", store, email="no address"))
    assert "ann@example.com" not in caplog.text


def test_where_they_are_one_person() -> None:
    """Under a policy by which customers can be one person, and without the state, there is nothing to say."""
    owners, policy = AddressOwners(), Policy(person_id_chain=("email",))
    for customer_id in ("cus_a", "cus_b"):
        assert not owners.is_shared(paid(customer_id, MemoryStore(), policy))
    body = orjson.loads(samples.load("payment.succeeded"))
    for customer_id in ("cus_a", "cus_b"):
        body["data"]["customer"] |= {"customer_id": customer_id, "email": "ann@example.com"}
        headers = (("webhook-id", b"msg_1"), ("webhook-timestamp", b"1792660383"))
        assert not owners.is_shared(decide(Consumed(orjson.dumps(body), headers), Policy(), map_webhook))


def test_the_memory_has_an_end() -> None:
    """The address that was met longest ago is forgotten."""
    owners, store = AddressOwners(remembered=2), MemoryStore()
    for number, customer_id in enumerate(("cus_a", "cus_b", "cus_c")):
        owners.is_shared(paid(customer_id, store, email=f"{number}@example.com"))
    assert not owners.is_shared(paid("cus_d", store, email="0@example.com"))
    assert owners.is_shared(paid("cus_e", store, email="2@example.com"))
