"""An identify that was given up is not remembered as told: the next webhook tells the profile again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest

from pipeline.dodo import samples
from pipeline.kafka.fetched import FetchedRecord
from pipeline.kafka.records import OutRecord
from pipeline.sink.unsaying import command_of
from pipeline.statestore.store import MemoryStore
from pipeline.transform.customers.facts import key, merge
from pipeline.transform.customers.summary import fold
from pipeline.transform.decision import Decision, decide
from pipeline.transform.mapping import map_webhook
from pipeline.transform.policy import Policy
from pipeline.transform.records import operation_records
from pipeline.transform.verdicts import DeadLettered, Dropped, Operations
from tests.records import Consumed

BY_ID, BY_ADDRESS = Policy(), Policy(person_id_chain=("email",))
BODY = samples.load("payment.succeeded")
CUSTOMER: bytes = orjson.loads(BODY)["data"]["customer"]["customer_id"].encode()


def paid(number: int) -> Consumed:
    """One payment, told again and again."""
    headers = (("webhook-id", b"msg_%d" % number), ("webhook-timestamp", b"%d" % (1_792_660_380 + number)))
    return Consumed(BODY, headers)


def kinds(decision: Decision) -> list[str]:
    """What is sent."""
    return [one.kind for one in decision.verdict.operations] if isinstance(decision.verdict, Operations) else []


def identify_of(record: Consumed, decision: Decision) -> OutRecord:
    """The identify as it lies in the topic."""
    assert isinstance(decision.verdict, Operations)
    written = operation_records(record, decision, decision.verdict)
    return next(out for out, one in zip(written, decision.verdict.operations, strict=True) if one.kind == "identify")


def command(out: OutRecord) -> Consumed:
    """What the sink writes when it gives the identify up."""
    record = FetchedRecord("customerio.operations", 0, 0, 0, 0, out.key, out.value, list(out.headers))
    found = command_of(record)
    assert found is not None
    return Consumed(found.value, found.headers, found.key)


def test_the_profile_is_told_again() -> None:
    """With a barrier, as of a person who may not be there; then it is remembered again."""
    store = MemoryStore()
    first = paid(0)
    refused = command(identify_of(first, decide(first, BY_ID, map_webhook, store)))
    assert kinds(decide(paid(1), BY_ID, map_webhook, store)) == []
    done = decide(refused, BY_ID, map_webhook, store)
    assert isinstance(done.verdict, Dropped)
    assert fold(store.scan(CUSTOMER + b"\0")).summary.encode() == store.derived(CUSTOMER)
    again = decide(paid(2), BY_ID, map_webhook, store)
    assert kinds(again) == ["identify"]
    assert isinstance(again.verdict, Operations)
    assert again.verdict.operations[0].barrier
    assert kinds(decide(paid(3), BY_ID, map_webhook, store)) == []


def test_a_lost_summary_knows_it_too() -> None:
    """What is unsaid stays so in the facts, whatever a payment's note says."""
    store = MemoryStore()
    first = paid(0)
    decide(command(identify_of(first, decide(first, BY_ID, map_webhook, store))), BY_ID, map_webhook, store)
    store.put_derived(CUSTOMER, None)
    assert kinds(decide(paid(1), BY_ID, map_webhook, store)) == ["identify"]


def test_an_older_refusal_changes_nothing() -> None:
    """Once another profile was told, or nobody is known, the command is without effect; so is a second one."""
    store = MemoryStore()
    first = paid(0)
    refused = command(identify_of(first, decide(first, BY_ID, map_webhook, store)))
    body = orjson.loads(BODY)
    body["data"]["customer"]["name"] = "Another Name"
    assert "identify" in kinds(decide(replace(paid(1), value=orjson.dumps(body)), BY_ID, map_webhook, store))
    before = list(store.changelog)
    decide(refused, BY_ID, map_webhook, store)
    assert store.changelog == before
    empty = MemoryStore()
    decide(refused, BY_ID, map_webhook, empty)
    assert empty.changelog == []


def test_of_a_person_of_several_customers() -> None:
    """The sums of an address go out under the person's own key, and are told again with the next share.

    A restore that merges what was said with what was unsaid takes it for unsaid.
    """
    store = MemoryStore()
    (share,) = decide(paid(0), BY_ADDRESS, map_webhook, store).commands
    record = Consumed(share.value, share.headers, share.key)
    summed = decide(record, BY_ADDRESS, map_webhook, store)
    value = orjson.loads(share.value or b"")
    later = Consumed(orjson.dumps({**value, "version": value["version"] + 1, "told": False}), share.headers, share.key)
    refused = command(identify_of(record, summed))
    assert refused.key == share.key
    assert kinds(decide(later, BY_ADDRESS, map_webhook, store)) == []
    person = key(refused.key or b"", "person", "")
    said = store.get(person)
    assert isinstance(decide(refused, BY_ADDRESS, map_webhook, store).verdict, Dropped)
    unsaid = store.get(person)
    assert said is not None
    assert unsaid is not None
    assert merge("person", said, unsaid) == merge("person", unsaid, said) == unsaid
    last = Consumed(orjson.dumps({**value, "version": value["version"] + 2, "told": False}), share.headers, share.key)
    assert kinds(decide(last, BY_ADDRESS, map_webhook, store)) == ["identify"]


@pytest.mark.parametrize(
    "value",
    [
        {"customer_id": "cus_1"},
        {"customer_id": "cus_1", "identity": "short"},
        {"customer_id": "person:nobody", "identity": "0" * 32},
        {"identity": "0" * 32},
    ],
)
def test_what_is_no_such_command(value: dict[str, Any]) -> None:
    """It is a dead letter, and nothing of it is done."""
    record = Consumed(orjson.dumps({"command": "untold", **value}), (("dodo-command", b"untold"),))
    assert isinstance(decide(record, BY_ID, map_webhook, MemoryStore()).verdict, DeadLettered)


def test_what_nobody_remembers_is_not_unsaid() -> None:
    """Events, and operations of other producers, lead to no command."""
    record = FetchedRecord("customerio.operations", 0, 0, 0, 0, b"k", b"{}", [("op-id", b"1")])
    assert command_of(record) is None
