"""An explanation is the worker's own decision, as a document."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import orjson
import pytest

from pipeline.customerio.batch import join
from pipeline.dodo import samples
from pipeline.dodo.envelope import kafka_key, parse
from pipeline.settings import Settings
from pipeline.statestore.store import MemoryStore
from pipeline.transform.decision import decide
from pipeline.transform.explain import SILENCES, explain
from pipeline.transform.mapping import map_body, map_webhook
from pipeline.transform.mapping.shaped import LEFT_OUT
from pipeline.transform.policy import Policy
from pipeline.transform.verdicts import DeadLettered, Delivery, Operations
from pipeline.transform.webhook import LONG_ID
from tests.records import Consumed

PAYMENT = samples.load("payment.succeeded")


def test_document_has_the_documented_members_in_order() -> None:
    """Scripts rely on these names."""
    document = explain(PAYMENT, Settings.load(), webhook_id="msg_1").document()
    assert list(document) == [
        "webhook_type",
        "webhook_id",
        "event_time",
        "kafka_key",
        "verdict",
        "class",
        "reason",
        "operations",
        "warnings",
        "request",
        "code",
        "found_at",
        "rules",
    ]
    assert document["webhook_type"] == "payment.succeeded"
    assert document["webhook_id"] == "msg_1"
    assert document["event_time"] == "2026-10-14T08:21:45.182Z"
    assert document["kafka_key"] == "cus_0NExampleCustomer0001"
    assert document["verdict"] == "operations"
    assert document["class"] is None
    assert document["reason"] is None
    assert [operation["action"] for operation in document["operations"]] == ["identify", "event"]
    assert document["warnings"]


@pytest.mark.parametrize("name", samples.names())
def test_operations_are_the_workers(name: str) -> None:
    """Byte for byte what the mapping makes of the same webhook, and the request that would carry exactly them."""
    body = samples.load(name)
    found = explain(body, Settings.load(), webhook_id="msg_1")
    verdict = map_body(body, Delivery("msg_1"), Policy.of(Settings.load()))
    assert found.operations == (verdict.operations if isinstance(verdict, Operations) else ())
    assert found.kafka_key.encode() == kafka_key(parse(body), "msg_1")
    if found.operations:
        assert found.request is not None
        assert found.request.bytes == len(join([operation.body for operation in found.operations]))
    else:
        assert found.request is None


def test_without_an_id_the_bodys_hash_stands_in() -> None:
    """As for a record without the header: the same body, the same id."""
    found = explain(PAYMENT, Settings.load())
    assert found.webhook_id == f"sha256_{sha256(PAYMENT).hexdigest()}"


@pytest.mark.parametrize(
    ("settings", "url"),
    [
        ({}, "https://track.customer.io/api/v2/batch"),
        ({"customerio_region": "us"}, "https://track.customer.io/api/v2/batch"),
        ({"customerio_region": "eu"}, "https://track-eu.customer.io/api/v2/batch"),
        ({"customerio_url": "http://127.0.0.1:8099"}, "http://127.0.0.1:8099/api/v2/batch"),
        ({"customerio_url": "http://127.0.0.1:8099/"}, "http://127.0.0.1:8099/api/v2/batch"),
    ],
)
def test_the_request_goes_to_the_settings_host(settings: dict[str, str], url: str) -> None:
    """The region's host, US where nobody was asked, or the override."""
    request = explain(PAYMENT, Settings.load(**settings)).request
    assert request is not None
    assert (request.method, request.url) == ("POST", url)


def test_a_drop_says_its_code_and_why() -> None:
    """`reason` starts with the code that is counted."""
    document = explain(samples.load("payout.created"), Settings.load()).document()
    assert document["verdict"] == "dropped"
    assert document["class"] is None
    assert document["code"] == "payout"
    assert document["reason"].startswith("a payout is")
    assert document["operations"] == []
    assert document["request"] is None
    assert document["event_time"] == "2026-11-01T00:00:04.000Z"


def test_a_dead_letter_says_its_class_and_why() -> None:
    """The class that the record would have in the dead letters."""
    document = explain(samples.load("dispute.opened--no-customer"), Settings.load()).document()
    assert (document["verdict"], document["class"]) == ("dead_letter", "unmappable")
    assert "PIPELINE_PERSON_ID=customer_id" in document["reason"]


def without_customer_id() -> bytes:
    """A payment whose customer has an address and no id."""
    body = orjson.loads(PAYMENT)
    del body["data"]["customer"]["customer_id"]
    return orjson.dumps(body)


@pytest.mark.parametrize("state", [True, False])
def test_a_webhook_of_nobody_is_refused_as_the_transform_refuses_it(state: bool) -> None:
    """With the state nobody is known without Dodo's id, though the policy finds the person; without it they are."""
    settings = Settings.load(person_id="email", state=state)
    found = explain(without_customer_id(), settings, webhook_id="msg_1")
    record = Consumed(without_customer_id(), (("webhook-id", b"msg_1"),))
    decided = decide(record, Policy.of(settings), map_webhook, MemoryStore() if state else None).verdict
    if state:
        assert isinstance(decided, DeadLettered)
        assert (found.class_, found.reason) == (decided.class_, decided.reason)
    else:
        assert isinstance(decided, Operations)
        assert [one.body for one in found.operations] == [one.body for one in decided.operations]


def test_an_id_that_no_webhook_has_is_refused() -> None:
    """As by the transform, which could not tell Customer.io of it."""
    found = explain(PAYMENT, Settings.load(), webhook_id="m" * 300)
    assert (found.class_, found.reason) == ("unmappable", LONG_ID.reason)


def test_an_unreadable_body_has_no_type() -> None:
    """What the pipeline would do with it is known all the same."""
    document = explain(b"{", Settings.load(), webhook_id="msg_1").document()
    assert document["webhook_type"] is None
    assert document["event_time"] is None
    assert document["kafka_key"] == "msg_1"
    assert (document["verdict"], document["class"]) == ("dead_letter", "unreadable")


def test_test_mode_is_explained_as_such() -> None:
    """Dropped by default, forwarded where the settings say so."""
    assert explain(PAYMENT, Settings.load(), mode="test").code == "test-mode"
    forwarded = explain(PAYMENT, Settings.load(forward_test_mode=True), mode="test").document()
    assert forwarded["operations"][0]["identifiers"] == {"id": "test_cus_0NExampleCustomer0001"}


def test_the_document_is_json() -> None:
    """Every sample's document can be written."""
    for name in samples.names():
        assert orjson.dumps(explain(samples.load(name), Settings.load()).document())


ACTIVE = samples.load("subscription.active")


@pytest.mark.parametrize("body", [PAYMENT, ACTIVE], ids=["payment", "subscription"])
@pytest.mark.parametrize("drop", ["event", "both"])
def test_an_event_that_rules_drop_is_told_as_dropped_by_them(tmp_path: Path, body: bytes, drop: str) -> None:
    """And not as one that the mapping has none of: money was charged."""
    warnings = explain(body, with_rules(tmp_path, f"rules: [{{drop: {drop}}}]")).warnings
    assert LEFT_OUT in warnings
    assert not [one for one in warnings if one in SILENCES.values()]


def test_what_the_mapping_has_no_event_of_is_told_so_beside_rules(tmp_path: Path) -> None:
    """A free payment of which a rule drops the profile."""
    body = orjson.loads(PAYMENT)
    body["data"] |= {"total_amount": 0, "subscription_id": "sub_1"}
    settings = with_rules(tmp_path, "rules: [{drop: profile}]")
    warnings = explain(orjson.dumps(body), settings).warnings
    assert SILENCES["payment.succeeded"] in warnings
    assert LEFT_OUT not in warnings


def with_rules(folder: Path, text: str) -> Settings:
    """Settings with a file of rules."""
    path = folder / "rules.yaml"
    path.write_text(text, encoding="utf-8")
    return Settings.load(rules=path)
