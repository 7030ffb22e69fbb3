"""Customers whom a webhook names by id alone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest

from pipeline.dodo import samples
from pipeline.kafka.fetched import UnreadableRecord
from pipeline.settings import Settings
from pipeline.statestore.store import MemoryStore
from pipeline.transform import worker
from pipeline.transform.customers.customer_view import CustomerView
from pipeline.transform.customers.facts import encode, key
from pipeline.transform.customers.observations import nothing
from pipeline.transform.decision import decide
from pipeline.transform.enrichment import CustomerLookedUp, Enrichment
from pipeline.transform.mapping import map_webhook
from pipeline.transform.policy import Policy
from pipeline.transform.resolver import FoundCustomer, Resolver
from pipeline.transform.verdicts import Operations
from pipeline.transform.webhook import read
from pipeline.watch.worker import WorkerWatch
from tests.records import Consumed

NOW_S = 1_790_000_000
POLICY = Policy(person_id_chain=("metadata.app_user_id", "customer_id"))
LICENCE = orjson.loads(samples.load("license_key.created"))
CUSTOMER_ID: str = LICENCE["data"]["customer_id"]
ANN = {
    "customer_id": CUSTOMER_ID,
    "email": "ann@example.com",
    "name": "Ann",
    "metadata": {"app_user_id": "u_1"},
    "created_at": "2026-01-01T00:00:00Z",
}


written = partial(
    Consumed,
    headers=(("webhook-id", b"msg_1"), ("webhook-timestamp", b"1790000000")),
    key=b"k",
    offset=7,
    timestamp=NOW_S * 1000,
)
"""A record as a consumer hands it out."""


class Dodo:
    """An API with one customer."""

    def __init__(self, found: dict[str, Any] | None) -> None:
        self.found = found

    async def customer(self, customer_id: str) -> dict[str, Any] | None:  # noqa: ARG002 - there is one
        """As the API."""
        return self.found

    async def aclose(self) -> None:
        """Nothing to close."""


Build = Callable[..., Enrichment]


@pytest.fixture
def told() -> list[CustomerLookedUp]:
    """What was told of look-ups."""
    return []


@pytest.fixture
def build(told: list[CustomerLookedUp]) -> Build:
    """`build(found, policy=POLICY)`: enrichment by an API that gives this answer."""

    def make(found: dict[str, Any] | None = ANN, policy: Policy = POLICY) -> Enrichment:
        return Enrichment(Resolver(Dodo(found), unix=lambda: NOW_S), policy, told.append)

    return make


def body(**change: Any) -> bytes:
    """A licence webhook with some members of the envelope changed."""
    return orjson.dumps(LICENCE | change)


async def asked(enrichment: Enrichment, customer_id: str) -> FoundCustomer | None:
    """What is known once the question has ended."""
    question = enrichment.ask(customer_id, waits=True)
    assert isinstance(question, asyncio.Task)
    await question
    found = enrichment.ask(customer_id, waits=True)
    assert found is None or isinstance(found, FoundCustomer)
    return found


async def test_an_unknown_customer_is_looked_up(build: Build, told: list[CustomerLookedUp]) -> None:
    """Once Dodo has answered the webhook goes to the policy's person, with address and identify; then it is known."""
    enrichment, store, record = build(), MemoryStore(), written(body())
    before = decide(record, POLICY, map_webhook, MemoryStore()).verdict
    assert isinstance(before, Operations)
    assert before.person_key == CUSTOMER_ID.encode()
    customer_id = enrichment.unknown_customer(read(record), store)
    assert customer_id == CUSTOMER_ID
    found = await asked(enrichment, customer_id)
    assert found == FoundCustomer(ANN, NOW_S)
    enrichment.put(found, customer_id, store)
    assert enrichment.unknown_customer(read(record), store) is None
    verdict = decide(record, POLICY, map_webhook, store).verdict
    assert isinstance(verdict, Operations)
    assert verdict.person_key == b"u_1"
    identify, event = (orjson.loads(operation.body) for operation in verdict.operations)
    assert identify["attributes"]["email"] == event["attributes"]["email"] == "ann@example.com"
    assert told == [CustomerLookedUp("found")]


@pytest.mark.parametrize(("metadata", "person"), [({}, CUSTOMER_ID), ({"app_user_id": "u_1"}, "u_1")])
def test_an_answer_settles_who_it_is(build: Build, metadata: dict[str, Any], person: str) -> None:
    """What Dodo's API told decides for good, as a body with the customer object does; the id alone does not."""
    for answered in (True, False):
        store = MemoryStore()
        if answered:
            build().put(FoundCustomer(ANN | {"metadata": metadata}, NOW_S), CUSTOMER_ID, store)
        verdict = decide(written(body()), POLICY, map_webhook, store).verdict
        assert isinstance(verdict, Operations)
        settled = CustomerView(store, CUSTOMER_ID.encode(), nothing(0)).person
        assert (settled and settled.id) == (person if answered else None)
        assert verdict.person_key.decode() == (person if answered else CUSTOMER_ID)


def test_an_answer_is_a_fact(build: Build) -> None:
    """What Dodo told is one record of the changelog, the customer's identity, and repeating it writes nothing."""
    enrichment, store = build(), MemoryStore()
    enrichment.put(FoundCustomer(ANN, NOW_S), CUSTOMER_ID, store)
    enrichment.put(FoundCustomer(ANN, NOW_S), CUSTOMER_ID, store)
    assert [written for written, _ in store.changelog] == [key(CUSTOMER_ID.encode(), "identity", "")]


@pytest.mark.parametrize(
    "found",
    [{}, {"customer_id": "cus_other", "email": "eve@example.com"}, {"customer_id": CUSTOMER_ID, "email": "no address"}],
    ids=["nothing", "somebody else", "no address"],
)
def test_unusable_answers(build: Build, found: dict[str, Any]) -> None:
    """An answer that does not tell this customer's address puts nothing into the store."""
    store = MemoryStore()
    build().put(FoundCustomer(found, NOW_S), CUSTOMER_ID, store)
    assert len(store) == 0


@pytest.mark.parametrize(
    "record",
    [
        written(None),
        written(b"{}"),
        written(b"not json"),
        written(samples.load("payment.succeeded")),
        written(samples.load("payout.success")),
        written(samples.load("unknown.future_event")),
        written(samples.load("credit.deducted")),
        written(body(), headers=(("dodo-mode", b"test"),)),
        written(body(), headers=(("dodo-command", b"forget"),)),
        written(body(data={**LICENCE["data"], "customer_id": "c" * 300})),
        written(body(data={**LICENCE["data"], "customer_id": None})),
    ],
    ids=[
        "tombstone",
        "no webhook",
        "unreadable",
        "tells the customer",
        "payout",
        "unknown type",
        "volume",
        "test mode",
        "command",
        "impossible id",
        "no id",
    ],
)
def test_nobody_to_ask_for(build: Build, record: Consumed) -> None:
    """Nobody is asked for where nothing is sent, nothing is missing, or nobody is named."""
    assert build().unknown_customer(read(record), MemoryStore()) is None


def test_customer_object_without_an_address(build: Build) -> None:
    """A body whose customer object has no more than the id is no better than one without it."""
    data = orjson.loads(samples.load("subscription.active"))
    data["data"]["customer"] = {"customer_id": "cus_1"}
    data["data"]["cancelled_by"] = None
    assert build().unknown_customer(read(written(orjson.dumps(data))), MemoryStore()) == "cus_1"


def test_volume_when_it_is_sent(build: Build) -> None:
    """Deducted credits are sent only on demand; then their customers are asked for."""
    record = written(samples.load("credit.deducted"))
    assert build(policy=Policy(emit_credit_deducted=True)).unknown_customer(read(record), MemoryStore()) is not None


def test_known_and_forgotten_customers(build: Build) -> None:
    """Whose address the state knows, or who asked to be forgotten, is not asked for."""
    enrichment, record = build(), written(body())
    known, forgotten = MemoryStore(), MemoryStore()
    enrichment.put(FoundCustomer(ANN, NOW_S), CUSTOMER_ID, known)
    forgotten.put(key(CUSTOMER_ID.encode(), "forgotten", ""), encode([NOW_S - 10**8]))
    assert enrichment.unknown_customer(read(record), known) is None
    assert enrichment.unknown_customer(read(record), forgotten) is None


async def test_nobody(build: Build, told: list[CustomerLookedUp]) -> None:
    """A customer whom Dodo does not know is counted."""
    assert await asked(build(None), "cus_1") is None
    assert told == [CustomerLookedUp("nobody")]


async def test_who_does_not_wait(build: Build, told: list[CustomerLookedUp]) -> None:
    """Out of patience a webhook goes on at once, and the question is on its way for the next one."""
    enrichment = build()
    assert enrichment.ask(CUSTOMER_ID, waits=False) is None
    assert told == [CustomerLookedUp("nobody")]
    assert await asked(enrichment, CUSTOMER_ID) == FoundCustomer(ANN, NOW_S)


def test_an_old_answer_does_not_win(build: Build) -> None:
    """What a webhook told since the question was asked is later, whenever the answer is put into the store."""
    enrichment, store = build(), MemoryStore()
    since = {"customer_id": CUSTOMER_ID, "email": "ann@new.example.com", "name": "Ann"}
    enrichment.put(FoundCustomer(since, NOW_S), CUSTOMER_ID, store)
    enrichment.put(FoundCustomer(ANN, NOW_S - 1800), CUSTOMER_ID, store)
    assert CustomerView(store, CUSTOMER_ID.encode(), nothing(0)).contact.email == "ann@new.example.com"


def test_nobody_is_asked_for_what_cannot_be_read() -> None:
    """It will be a dead letter, whoever its customer is."""
    body = orjson.dumps(LICENCE)
    record = UnreadableRecord("t", 0, 1, NOW_S * 1000, 0, b"k", body, written(body).headers, "odd")
    enrichment = Enrichment(Resolver(Dodo(ANN)), POLICY)
    assert enrichment.unknown_customer(read(written(body)), MemoryStore()) == CUSTOMER_ID
    assert enrichment.unknown_customer(read(record), MemoryStore()) is None


async def test_an_answer_to_a_worker_whose_clock_is_ahead(tmp_path: Path) -> None:
    """It is dated by the brokers' clock: what a webhook tells a little later wins."""
    settings = Settings.load(dodo_api_key="key", data_dir=tmp_path)
    watch = WorkerWatch(worker.create_app(settings))
    now_s = int(time.time()) - 3600
    for _ in range(3):
        watch.clock.confirmed((time.time() - 3600) * 1000, 0.01)
    enrichment = worker._enrichment(settings, POLICY, watch)
    assert enrichment is not None
    await enrichment._resolver._api.aclose()
    enrichment._resolver._api = Dodo(ANN)
    asking = enrichment.ask(CUSTOMER_ID, waits=True)
    assert isinstance(asking, asyncio.Task)
    await asking
    found = enrichment.ask(CUSTOMER_ID, waits=True)
    assert isinstance(found, FoundCustomer)
    store = MemoryStore()
    enrichment.put(found, CUSTOMER_ID, store)
    body = orjson.loads(samples.load("payment.succeeded"))
    body["data"]["customer"] |= {"customer_id": CUSTOMER_ID, "email": "later@example.com"}
    headers = (("webhook-id", b"msg_2"), ("webhook-timestamp", b"%d" % (now_s + 600)))
    verdict = decide(Consumed(orjson.dumps(body), headers), POLICY, map_webhook, store).verdict
    assert isinstance(verdict, Operations)
    identify = orjson.loads(verdict.operations[0].body)
    assert (identify["attributes"]["email"], identify["timestamp"]) == ("later@example.com", now_s + 600)
    await enrichment.close()
