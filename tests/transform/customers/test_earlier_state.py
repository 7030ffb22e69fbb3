"""A state that an earlier version wrote, byte for byte, is gone on from: nothing is told twice and nothing is lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from pipeline.dodo import samples
from pipeline.statestore.lmdb_store import LmdbStore
from pipeline.statestore.store import MemoryStore
from pipeline.statestore.transaction import TransactionalStore
from pipeline.transform.customers import facts
from pipeline.transform.customers.schema import CUSTOMERS
from pipeline.transform.customers.summary import VERSION
from pipeline.transform.decision import decide
from pipeline.transform.mapping import map_webhook
from pipeline.transform.policy import Policy
from pipeline.transform.ulid import ulid
from pipeline.transform.verdicts import Operations
from tests.records import Consumed

SUB: str = orjson.loads(samples.load("subscription.active"))["data"]["subscription_id"]
CUSTOMER: bytes = orjson.loads(samples.load("subscription.active"))["data"]["customer"]["customer_id"].encode()
AT_S, AT_MS = 1_796_000_000, 1_796_000_000_000
PLAN = b'[[1791966120,1791966120000,"pdt_0NExampleProduct00001",2900,"USD","Month",1]]'
ACTIVE = b'[1791966120,1791966120000,"%b","2026-11-14T08:21:58Z",false,1791966091180,' + PLAN + b"%b]"


def store_with(**written: bytes) -> MemoryStore:
    """The customer's facts as they were written, by kind, and a summary of then."""
    store = MemoryStore()
    for kind, value in written.items():
        assert facts.checked(kind, value) is not None
        store.put(facts.key(CUSTOMER, kind, SUB), value)  # type: ignore[arg-type]
    store.put_derived(
        CUSTOMER,
        b"\x03[0,0,{},null,null,null,null,0,false,{},null,[],null,[0,0,null,null,null,null,null,null,null,{}]]",
    )
    return store


def told(store: MemoryStore, name: str, webhook_id: str = "msg_now", **data: Any) -> list[str | None]:
    """The events of a sample that happened now."""
    body = orjson.loads(samples.load(name))
    body["timestamp"] = "2026-11-30T00:53:20Z"
    body["data"] |= {"subscription_id": SUB, **data}
    headers = (("webhook-id", webhook_id.encode()), ("webhook-timestamp", b"%d" % AT_S))
    verdict = decide(Consumed(orjson.dumps(body), headers), Policy(), map_webhook, store).verdict
    return [one.name for one in verdict.operations if one.kind == "event"] if isinstance(verdict, Operations) else []


@pytest.mark.parametrize("tail", [b"", b",null,null"], ids=["seven elements", "nine elements"])
@pytest.mark.parametrize(
    ("status", "event"),
    [
        (b"on_hold", ["subscription_reactivated"]),
        (b"past_due", ["subscription_reactivated"]),
        (b"paused", ["subscription_unpaused"]),
        (b"active", []),
    ],
)
def test_a_lapse_of_then_is_answered(status: bytes, tail: bytes, event: list[str]) -> None:
    """Its status is all that was kept of it; the answer is remembered as of a lapse of now."""
    store = store_with(subscription=ACTIVE % (status, tail), activation=b'[1791966118638,"msg_first"]')
    assert told(store, "subscription.active") == event
    assert told(store, "subscription.updated", "msg_2", cancel_at_next_billing_date=False) == []
    if status == b"paused":
        assert told(store, "subscription.unpaused", "msg_3") == []


OF_THEN = (
    b'\x06[0,0,{},null,null,null,null,0,false,{"%b":["on_hold","pdt_of_then",null,false,5,1,"EUR","Year",1,null,null]},'
    b"null,[],null,null,[0,0,null,null,null,null,null,null,null,{}]]"
) % SUB.encode()
"""A summary that held every subscription that goes on; what it says differs from the facts, to tell which was used."""


def test_a_mirror_of_then_is_summed_up_anew(tmp_path: Path) -> None:
    """A mirror's file of the former version: the facts decide, and each subscription has its place."""
    local = LmdbStore.open(tmp_path, "dodo.customers", 0, CUSTOMERS)
    stored = {
        facts.key(CUSTOMER, "subscription", id_): ACTIVE % (status, b",null,null")
        for id_, status in ((SUB, b"active"), ("sub_2", b"past_due"), ("sub_3", b"cancelled"))
    }
    local.write(stored, {CUSTOMER: OF_THEN}, 3)
    local.close()
    local = LmdbStore.open(tmp_path, "dodo.customers", 0, CUSTOMERS)
    assert local.why_empty is None
    store = TransactionalStore(local, 0)
    body = orjson.loads(samples.load("payment.succeeded"))
    headers = (("webhook-id", b"msg_now"), ("webhook-timestamp", b"%d" % AT_S))
    verdict = decide(Consumed(orjson.dumps(body), headers), Policy(), map_webhook, store).verdict
    assert isinstance(verdict, Operations)
    shown = orjson.loads(verdict.operations[0].body)["attributes"]
    assert (shown["subscription_id"], shown["subscription_status"]) == (SUB, "active")
    assert (shown["active_subscriptions"], shown["active_product_ids"]) == (1, ["pdt_0NExampleProduct00001"])
    store.commit([store.seal()], [range(3, 5)])
    store.flush()
    begin = facts.prefix(CUSTOMER)
    places = [key for key, _ in local.derived_between(begin + b"s", begin + b"t")]
    assert [key[-5:] for key in places] == [SUB[-5:].encode(), b"sub_2", b"sub_3"]
    assert (local.derived(CUSTOMER) or b"")[:1] == VERSION
    local.close()


def test_an_end_of_then_stays() -> None:
    """A late copy of an older body does not undo it."""
    store = store_with(subscription=ACTIVE % (b"cancelled", b""), activation=b'[1791966118638,"msg_first"]')
    body = orjson.loads(samples.load("subscription.updated"))
    body["timestamp"] = "2026-10-14T09:00:00Z"
    body["data"] |= {"cancel_at_next_billing_date": False, "status": "active"}
    headers = (("webhook-id", b"msg_late"), ("webhook-timestamp", b"%d" % AT_S))
    verdict = decide(Consumed(orjson.dumps(body), headers), Policy(), map_webhook, store).verdict
    assert isinstance(verdict, Operations)
    assert orjson.loads(verdict.operations[0].body)["attributes"]["subscription_status"] == "cancelled"


def test_a_card_of_then_is_not_told_again() -> None:
    """The latest method that the subscription's webhook told was all that was kept."""
    store = store_with(method=b'[1791966120,1791966120000,"pm_ExamplePayMethod00001"]')
    assert told(store, "payment.succeeded--update-payment-method") == []
    other = {"payment_id": "pay_other", "payment_method_id": "pm_other"}
    assert told(store, "payment.succeeded--update-payment-method", "msg_2", **other) == ["payment_method_updated"]


def test_a_charge_of_then_is_the_first() -> None:
    """It was kept without its type: a later one converts no trial."""
    store = store_with(charge=b'[1793175000000,"pay_then"]', subscription=ACTIVE % (b"active", b",null,null"))
    headers = (("webhook-id", b"msg_now"), ("webhook-timestamp", b"%d" % AT_S))
    body = orjson.loads(samples.load("subscription.renewed"))
    body["timestamp"] = "2026-10-28T08:22:30Z"
    body["data"] |= {
        "subscription_id": SUB,
        "trial_period_days": 14,
        "previous_billing_date": "2026-10-28T08:21:58Z",
        "payment_id": "pay_now",
    }
    verdict = decide(Consumed(orjson.dumps(body), headers), Policy(), map_webhook, store).verdict
    assert isinstance(verdict, Operations)
    assert verdict.operations[-1].name == "subscription_renewed"
    assert "is_trial_conversion" not in orjson.loads(verdict.operations[-1].body)["attributes"]


def test_an_event_of_then_is_not_told_under_another_name() -> None:
    """What the webhook's own id makes of each event of its type is looked for; another reading tells nothing."""
    store = MemoryStore()
    out = ulid(AT_MS, "payment_action_required", "webhook", "msg_now")
    store.put(facts.key(CUSTOMER, "event", out), b"[1796000000]")
    assert told(store, "payment.processing", status="cancelled") == []
    assert told(store, "payment.processing", "msg_2", status="cancelled") == ["payment_processing"]
