"""A customer's facts belong to the partition of the customer's id, wherever a webhook lies."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import orjson
import pytest
from aiokafka.partitioner import DefaultPartitioner
from hypothesis import given
from hypothesis import strategies as st

from pipeline.dodo import samples
from pipeline.kafka.records import OutRecord, text_header
from pipeline.statestore.ownership import Ownership
from pipeline.statestore.store import MemoryStore
from pipeline.transform.customers.facts import person_key
from pipeline.transform.decision import Decision, decide
from pipeline.transform.enrichment import Enrichment
from pipeline.transform.mapping import map_webhook
from pipeline.transform.policy import Policy
from pipeline.transform.records import operation_records, sent_on_record
from pipeline.transform.verdicts import DeadLettered, Dropped, Operations, SentOn
from pipeline.transform.webhook import read
from tests.records import Consumed

POLICY = Policy()
TIME_MS = 1_792_660_383_300


consumed = partial(Consumed, headers=(("webhook-id", b"msg_1"),), offset=41, timestamp=TIME_MS)
"""A record as a consumer hands it out."""


def java(customer_id: str, partitions: int) -> int:
    """The partition by aiokafka's own port of Java's default partitioner."""
    everywhere = list(range(partitions))
    return int(DefaultPartitioner()(customer_id.encode(), everywhere, everywhere))


def payment(customer_id: str) -> bytes:
    """A payment of a customer."""
    body = orjson.loads(samples.load("payment.succeeded"))
    body["data"]["customer"]["customer_id"] = customer_id
    return orjson.dumps(body)


def stores(partitions: int) -> list[MemoryStore]:
    """The state of every partition."""
    return [MemoryStore(ownership=Ownership(number, partitions)) for number in range(partitions)]


def decided(record: Consumed, store: MemoryStore, policy: Policy = POLICY) -> Decision:
    """What becomes of it."""
    return decide(record, policy, map_webhook, store)


def arrived(copy: OutRecord, partition: int, timestamp: int = TIME_MS + 5_000) -> Consumed:
    """The copy as its owner reads it."""
    return consumed(copy.value, headers=copy.headers, key=copy.key, partition=partition, offset=7, timestamp=timestamp)


def sent_on(record: Consumed, store: MemoryStore) -> tuple[Consumed, int]:
    """The copy at its owner."""
    verdict = decided(record, store).verdict
    assert isinstance(verdict, SentOn)
    return arrived(sent_on_record(record, verdict), verdict.partition), verdict.partition


@given(st.text(min_size=1, max_size=40).filter(lambda one: one.strip() == one and "\0" not in one), st.integers(1, 30))
def test_the_owner_is_javas(customer_id: str, partitions: int) -> None:
    """Whoever keys by the customer's id with Java's default partitioner writes to the owner, and nothing is sent on."""
    try:
        customer_id.encode()
    except UnicodeEncodeError:
        return
    owner = java(customer_id, partitions)
    body = payment(customer_id)
    for number, store in enumerate(stores(partitions)):
        verdict = decided(consumed(body, partition=number), store).verdict
        if number == owner:
            assert isinstance(verdict, Operations)
        else:
            assert verdict == SentOn(customer_id.encode(), owner, partitions)
            assert store.changelog == []


def test_the_copy_is_decided_as_the_webhook_would_have_been() -> None:
    """Ids, bytes and headers of the operations are those of a webhook that lay at its owner at once."""
    owner = java("cus_1", 6)
    headers = (("Webhook-Id", b"msg_1"), ("webhook-timestamp", b"1792660380"), ("traceparent", b"00-1"), ("x", b"\xff"))
    record = consumed(payment("cus_1"), headers=headers, key=b"some key", partition=(owner + 1) % 6)
    before = stores(6)
    copy, partition = sent_on(record, before[record.partition])
    assert (partition, copy.value, copy.key) == (owner, record.value, b"cus_1")
    assert copy.headers[:4] == headers
    assert dict(copy.headers[4:]) == {
        "received-at": b"%d" % TIME_MS,
        "repartitioned-from": b"dodo.webhooks/%d/41" % record.partition,
        "repartitioned-among": b"6",
    }
    moved, direct = decided(copy, before[owner]), decided(replace(record, partition=owner), stores(6)[owner])
    assert moved == direct
    assert isinstance(moved.verdict, Operations)
    ours = operation_records(replace(copy, offset=41), moved, moved.verdict)
    assert ours == operation_records(replace(record, partition=owner), direct, moved.verdict)


def test_a_second_copy_is_absorbed() -> None:
    """After a crash between the copy and the commit it is written again; the event keeps its id and is out once."""
    owner = java("cus_1", 6)
    state = stores(6)
    record = consumed(payment("cus_1"), partition=(owner + 1) % 6)
    ids = []
    for _ in range(2):
        copy, _ = sent_on(record, state[record.partition])
        verdict = decided(copy, state[owner]).verdict
        assert isinstance(verdict, Operations)
        ids.append([one.op_id for one in verdict.operations if one.kind == "event"])
    assert len(ids[0]) == 1
    assert ids[1] in ([], ids[0])


def test_a_reception_that_is_known_is_kept() -> None:
    """The first reception counts; a record that was put back from the dead letters gets none."""
    owner = java("cus_1", 6)
    elsewhere = (owner + 1) % 6
    for headers, told in (
        ((("Received-At", b"1700000000000"),), b"1700000000000"),
        ((("received-at", b"soon"),), b"%d" % TIME_MS),
        ((("dlq-replays", b"1"),), None),
    ):
        record = consumed(payment("cus_1"), headers=headers, partition=elsewhere)
        copy, _ = sent_on(record, stores(6)[elsewhere])
        found = text_header(copy.headers, "received-at")
        assert found == (told.decode() if told else None)


def test_nothing_goes_round() -> None:
    """What was sent on lies at its owner or is a dead letter; only after the topic grew it is sent on once more."""
    owner = java("cus_1", 6)
    elsewhere = (owner + 1) % 6
    copy, _ = sent_on(consumed(payment("cus_1"), partition=elsewhere), stores(6)[elsewhere])
    lost = replace(copy, partition=elsewhere)
    store = stores(6)[elsewhere]
    verdict = decided(lost, store).verdict
    assert isinstance(verdict, DeadLettered)
    assert (verdict.class_, verdict.field) == ("unmappable", "repartitioned-from")
    assert f"dodo.webhooks/{elsewhere}/41" in verdict.reason
    assert store.changelog == []
    unsaid = tuple(pair for pair in lost.headers if pair[0] != "repartitioned-among")
    assert isinstance(decided(replace(lost, headers=unsaid), store).verdict, DeadLettered)

    grown = (java("cus_1", 12) + 1) % 12
    again, partition = sent_on(replace(lost, partition=grown), stores(12)[grown])
    assert partition == java("cus_1", 12)
    names = [name for name, _ in again.headers]
    assert (names.count("repartitioned-from"), text_header(again.headers, "repartitioned-among")) == (1, "12")


def test_what_is_decided_where_it_lies() -> None:
    """Test mode has no state; a body without a customer, unreadable bytes and payouts have no owner."""
    test_mode = (("webhook-id", b"msg_1"), ("dodo-mode", b"test"))
    for body, headers in (
        (payment("cus_1"), test_mode),
        (samples.load("payout.success"), ()),
        (samples.load("dispute.opened--no-customer"), ()),
        (b"\xff", ()),
        (None, ()),
    ):
        for number, store in enumerate(stores(4)):
            verdict = decided(
                consumed(body, headers=headers, partition=number), store, Policy(forward_test_mode=True)
            ).verdict
            assert not isinstance(verdict, SentOn)


@pytest.mark.parametrize("command", ["forget", "backfill"])
def test_commands_are_carried_out_at_the_owner(command: str) -> None:
    """A command keyed by something else is sent on, and done nowhere else."""
    value: dict[str, object] = {"command": command, "customer_id": "cus_1", "customerio": None, "at": 1_792_660_000}
    value |= {
        "object": "customer",
        "data": {"customer_id": "cus_1", "email": "a@example.com"},
        "read_at": 1_792_660_000,
    }
    headers = (("dodo-command", command.encode()), ("webhook-id", b"backfill_1"))
    owner = java("cus_1", 4)
    for number, store in enumerate(stores(4)):
        record = consumed(orjson.dumps(value), headers=headers, key=b"k", partition=number)
        verdict = decided(record, store).verdict
        assert isinstance(verdict, Dropped if number == owner else SentOn)
        assert bool(store.changelog) == (number == owner)


def test_a_share_belongs_to_the_person() -> None:
    """The record's key and the person's facts lie in one partition, which follows from the facts' keys alone."""
    policy = Policy(person_id_chain=("email",))
    state = stores(4)
    owner = java("cus_1", 4)
    (share,) = decided(consumed(payment("cus_1"), partition=owner), state[owner], policy).commands
    assert share.key is not None
    address = orjson.loads(share.value or b"")["email"]
    assert share.key == person_key(address)
    home = Ownership(0, 4).owner(share.key)
    away = (home + 1) % 4
    lost = decided(arrived(share, away), state[away], policy).verdict
    assert lost == SentOn(share.key, home, 4)
    assert isinstance(decided(arrived(share, home), state[home], policy).verdict, Operations)
    assert all(key.startswith(share.key) for key, _ in state[home].changelog if key.startswith(b"person:"))


def test_nobody_is_asked_for_elsewhere() -> None:
    """Dodo's API is asked by the owner, who knows whether it must be."""
    body = orjson.dumps({"type": "license_key.created", "data": {"customer_id": "cus_1", "id": "lic_1"}})
    enrichment = Enrichment(None, POLICY)  # type: ignore[arg-type]  # nobody is asked
    owner = java("cus_1", 4)
    asked = [enrichment.unknown_customer(read(consumed(body, partition=n)), store) for n, store in enumerate(stores(4))]
    assert asked == ["cus_1" if number == owner else None for number in range(4)]
