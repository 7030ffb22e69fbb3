"""Whatever lies in the topic has a verdict."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.kafka.fetched import UnreadableRecord
from pipeline.statestore.store import MemoryStore
from pipeline.transform.customers.facts import MAX_FACT_BYTES
from pipeline.transform.decision import NO_COMMANDS, NO_CUSTOMER, NO_STATE, decide
from pipeline.transform.mapping import map_webhook
from pipeline.transform.policy import Policy
from pipeline.transform.profile import Profile
from pipeline.transform.verdicts import DeadLettered, Delivery, Dropped, Operations, Verdict
from pipeline.transform.webhook import LONG_ID, NO_MODE, NO_VALUE, Webhook
from tests.records import Consumed

BODY = b'{"type":"payout.created","timestamp":"2026-01-02T03:04:05Z","business_id":"bus_1","data":{"payout_id":"po_1"}}'
POLICY = Policy()


consumed = partial(Consumed, value=BODY, offset=7, timestamp=1_767_000_000_123)
"""A record as a consumer hands it out."""


@dataclass
class Mapping:
    """Stands for the mapping and keeps what it was asked."""

    asked: list[Webhook] = field(default_factory=list)

    def __call__(self, webhook: Webhook, policy: Policy, profile: Profile | None) -> Verdict:
        """Drop it."""
        assert policy is POLICY
        assert profile is None
        self.asked.append(webhook)
        return Dropped("payout", "payouts concern the merchant")


def delivery_of(record: Consumed) -> Delivery:
    """What the mapping is told about this record's delivery."""
    mapping = Mapping()
    decide(record, POLICY, mapping)
    (webhook,) = mapping.asked
    return webhook.delivery


def test_all_headers() -> None:
    """Each header of the contract reaches the mapping as what it means."""
    record = consumed(
        headers=(
            ("webhook-id", b"msg_1"),
            ("webhook-timestamp", b"1767000000"),
            ("dodo-type", b"payout.created"),
            ("dodo-mode", b"test"),
            ("received-at", b"1767000000456"),
        )
    )
    assert delivery_of(record) == Delivery(
        webhook_id="msg_1",
        attempt_at_s=1_767_000_000,
        received_at_ms=1_767_000_000_456,
        mode="test",
    )


def test_no_headers() -> None:
    """A feeder that sets none: the id is the body's hash, the mode live, the reception the record's own time."""
    delivery = delivery_of(consumed())
    assert delivery.webhook_id == f"sha256_{hashlib.sha256(BODY).hexdigest()}"
    assert (delivery.attempt_at_s, delivery.received_at_ms, delivery.mode) == (None, 1_767_000_000_123, "live")


def test_header_names_in_any_case() -> None:
    """`Webhook-Id`, `WEBHOOK-TIMESTAMP`: names match in any case."""
    record = consumed(
        headers=(
            ("Webhook-Id", b"msg_1"),
            ("WEBHOOK-TIMESTAMP", b"5"),
            ("Dodo-Mode", b" TEST "),
            ("Received-At", b"6"),
        )
    )
    delivery = delivery_of(record)
    assert (delivery.webhook_id, delivery.attempt_at_s, delivery.received_at_ms) == ("msg_1", 5, 6)
    assert delivery.mode == "test"


def test_replayed_record_without_reception() -> None:
    """The time of a replay is not taken for the time of reception, or old data would look new."""
    assert delivery_of(consumed(headers=(("dlq-replays", b"1"),))).received_at_ms is None
    kept = consumed(headers=(("dlq-replays", b"1"), ("received-at", b"1767000000456")))
    assert delivery_of(kept).received_at_ms == 1_767_000_000_456


def test_record_without_a_time() -> None:
    """A record of a producer that writes no time has no reception."""
    assert delivery_of(consumed(timestamp=-1)).received_at_ms is None


def refused(record: Consumed) -> DeadLettered:
    """The dead letter of a record that never reaches the mapping."""
    mapping = Mapping()
    verdict = decide(record, POLICY, mapping).verdict
    assert mapping.asked == []
    assert isinstance(verdict, DeadLettered)
    return verdict


def test_tombstone() -> None:
    """A record without a value is a dead letter, not silence."""
    assert refused(consumed(value=None)) is NO_VALUE


@pytest.mark.parametrize("name", ["dodo-command", "Dodo-Command"])
def test_command(name: str) -> None:
    """A command record is never mapped as a webhook, even when its value looks like one."""
    assert refused(consumed(headers=((name, b"forget"),))) is NO_STATE
    assert refused(consumed(headers=((name, b"forget"),), value=b"not json")) is NO_STATE


def test_commands_that_are_switched_off() -> None:
    """Whoever may write the topic forgets nobody: nothing is known of the customer afterwards, and the letter waits."""
    store, mapping = MemoryStore(), Mapping()
    order = consumed(
        headers=(("dodo-command", b"forget"), ("webhook-id", b"forget_1")),
        value=b'{"command":"forget","customer_id":"cus_1","customerio":null,"at":1792000000}',
    )
    off = decide(order, Policy(commands=False), mapping, store)
    assert (off.verdict, off.commands, mapping.asked) == (NO_COMMANDS, (), [])
    assert list(store.scan(b"")) == []
    assert decide(order, Policy(), mapping, store).verdict != NO_COMMANDS
    assert list(store.scan(b"")) != []


@pytest.mark.parametrize("mode", [b"sandbox", b"\xff", b"live,test"])
def test_unknown_mode(mode: bytes) -> None:
    """A mode that is neither live nor test is not guessed: test data must never reach real people."""
    assert refused(consumed(headers=(("dodo-mode", mode),))) is NO_MODE


def test_long_id() -> None:
    """An id that would not fit into an operation's headers is refused by the header's name."""
    assert refused(consumed(headers=(("webhook-id", b"m" * 256),))) is LONG_ID
    assert delivery_of(consumed(headers=(("webhook-id", b"m" * 255),))).webhook_id == "m" * 255


@pytest.mark.parametrize("body", [b"", b"\xff\xfe", b"[]", b"{", b'{"type":"x"}', b"null", b'{"a":NaN}'])
def test_unreadable(body: bytes) -> None:
    """Bytes that are no webhook become `unreadable` with a reason."""
    verdict = refused(consumed(value=body))
    assert verdict.class_ == "unreadable"
    assert verdict.reason


names = st.sampled_from(
    ["webhook-id", "webhook-timestamp", "dodo-mode", "received-at", "dodo-type", "Dlq-Replays", "x"]
)
values = st.one_of(st.none(), st.binary(max_size=24), st.integers().map(lambda n: b"%d" % n))


@given(
    value=st.one_of(st.none(), st.binary(max_size=60), st.just(BODY)),
    headers=st.lists(st.tuples(names, values), max_size=6).map(tuple),
    timestamp=st.integers(-1, 2**62),
)
def test_never_raises(value: bytes | None, headers: tuple[tuple[str, bytes], ...], timestamp: int) -> None:
    """Whatever value and headers a record has, there is a verdict."""
    decision = decide(consumed(value=value, headers=headers, timestamp=timestamp), POLICY, Mapping())
    assert isinstance(decision.verdict, Dropped | DeadLettered)


def unreadable(**about: Any) -> UnreadableRecord:
    """What reading made of something that it could not read."""
    whole = {
        "topic": "dodo.webhooks", "partition": 0, "offset": 7, "timestamp": -1, "timestamp_type": 0, "key": None,
        "value": BODY, "headers": (), "fault": "the name of a header is not UTF-8: x",
    }  # fmt: skip
    return UnreadableRecord(**{**whole, **about})


@pytest.mark.parametrize("value", [BODY, None, b"\xff"])
def test_what_could_not_be_read(value: bytes | None) -> None:
    """It is a dead letter with the fault that reading found, however well its value may look."""
    found = decide(unreadable(value=value, headers=[("webhook-id", b"msg_1")]), POLICY, None)  # type: ignore[arg-type]
    assert found.verdict == DeadLettered("unreadable", "the name of a header is not UTF-8: x")
    assert (found.type, found.webhook_id) == (None, "msg_1")


@pytest.mark.parametrize("timestamp", [-1, 0, -62_135_596_800_000, 253_402_300_800_000_000, 2**63 - 1, -(2**63)])
def test_a_record_s_time_that_is_none(timestamp: int) -> None:
    """Without a header a record's own time is when it was received, if a clock can have shown it."""
    assert delivery_of(consumed(timestamp=timestamp)).received_at_ms is None
    assert delivery_of(consumed(timestamp=1_767_000_000_123)).received_at_ms == 1_767_000_000_123


def payment(number: int, **metadata: str) -> Consumed:
    """A payment of one customer, who has that metadata."""
    customer = {"customer_id": "cus_1", "email": "ada@example.com", "metadata": metadata}
    data = {"payment_id": f"pay_{number}", "customer": customer, "total_amount": 100, "currency": "USD"}
    body = {"type": "payment.succeeded", "timestamp": "2026-01-02T03:04:05Z", "business_id": "bus_1", "data": data}
    return consumed(value=orjson.dumps(body), headers=(("webhook-id", b"msg_%d" % number),))


def test_what_no_topic_may_take() -> None:
    """Texts that add up to a fact which is too large are a dead letter, and nothing of that webhook is left behind."""
    policy = Policy(metadata=(("a", "metadata_a"), ("b", "metadata_b")))
    store = MemoryStore()
    assert isinstance(decide(payment(1, a="x" * 150_000), policy, map_webhook, store).verdict, Operations)
    before = list(store.changelog)
    verdict = decide(payment(2, b="x" * 150_000), policy, map_webhook, store).verdict
    assert isinstance(verdict, DeadLettered)
    assert (verdict.class_, store.changelog) == ("oversize", before)
    assert isinstance(decide(payment(3), policy, map_webhook, store).verdict, Operations)
    assert max(len(key) + len(value or b"") for key, value in store.changelog) <= MAX_FACT_BYTES


def test_a_share_that_no_topic_may_take() -> None:
    """The same of what the owner of a person would be told."""
    policy = Policy(person_id_chain=("email",), metadata=(("a", "metadata_a"),))
    fits = decide(payment(1, a="x" * 150_000), policy, map_webhook, MemoryStore())
    assert [len(one.value or b"") > 150_000 for one in fits.commands] == [True]
    over = decide(payment(1, a="x" * 199_600), policy, map_webhook, MemoryStore())
    assert isinstance(over.verdict, DeadLettered)
    assert (over.verdict.class_, over.commands) == ("oversize", ())


def test_what_only_the_state_could_tell_of_nobody_is_no_silence() -> None:
    """A body whose metadata names the person, without a customer: an answered lapse or a new status may be in it."""
    policy = Policy(person_id_chain=("metadata.user", "customer_id"))
    data = {"subscription_id": "sub_1", "status": "active", "metadata": {"user": "u_1"}}
    body = {"type": "subscription.updated", "timestamp": "2026-01-02T03:04:05Z", "business_id": "bus_1", "data": data}
    record = consumed(value=orjson.dumps(body), headers=(("webhook-id", b"msg_1"),))
    assert decide(record, policy, map_webhook, MemoryStore()).verdict is NO_CUSTOMER
    assert isinstance(decide(record, policy, map_webhook).verdict, Dropped), "without a state there is nothing to lose"
