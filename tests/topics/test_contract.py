"""The contract with the platform says what the code does, and is a document that tools can read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any, get_args

import jsonschema
import orjson
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pipeline.customerio import limits
from pipeline.customerio import operations as track
from pipeline.deadletters.envelope import CLASSES, OWN_HEADERS, DeadLetterClass, dead_letter
from pipeline.dodo import samples
from pipeline.dodo.envelope import parse
from pipeline.errors import UnreadableBodyError
from pipeline.ingest.records import AcceptedWebhook, Unreadable, decide
from pipeline.kafka import records
from pipeline.kafka.cluster.topics import load_specs
from pipeline.kafka.records import OutRecord
from pipeline.settings import Settings
from pipeline.statestore.partition_count import began_value
from pipeline.statestore.store import MemoryStore
from pipeline.transform.customers import facts
from pipeline.transform.customers.shape import fits
from pipeline.transform.decision import decide as decide_record
from pipeline.transform.mapping import map_webhook
from pipeline.transform.policy import Policy
from pipeline.transform.records import operation_records
from pipeline.transform.verdicts import Operations
from tests.records import Consumed

ROOT = Path(__file__).parents[2]
TOPICS = ROOT / "topics"
SCHEMAS = sorted(path.relative_to(TOPICS).as_posix() for path in TOPICS.rglob("schemas/**/*.json"))


@cache
def schema(name: str) -> jsonschema.Draft202012Validator:
    """The validator of `topics/schemas/<name>.json`."""
    return jsonschema.Draft202012Validator(json.loads((TOPICS / "schemas" / f"{name}.json").read_text()))


def document(name: str) -> dict[str, Any]:
    """The schema itself."""
    return dict(schema(name).schema)  # type: ignore[arg-type]  # none of ours is a bare true or false


consumed = partial(Consumed, partition=3, offset=41, timestamp=1_792_660_383_300)
"""A record as a consumer hands it out."""


@cache
def asyncapi() -> dict[str, Any]:
    """The document."""
    loaded: dict[str, Any] = yaml.safe_load((TOPICS / "asyncapi.yaml").read_text())
    return loaded


def texts(record: OutRecord) -> dict[str, str]:
    """Headers as the schemas see them."""
    return {name: value.decode() for name, value in record.headers}


@pytest.mark.parametrize("path", SCHEMAS)
def test_schemas_are_schemas(path: str) -> None:
    """Each file is valid JSON Schema 2020-12, and each example in it is one."""
    loaded = json.loads((TOPICS / path).read_text())
    jsonschema.Draft202012Validator.check_schema(loaded)
    validator = jsonschema.Draft202012Validator(loaded)
    for example in loaded.get("examples", []):
        validator.validate(example)


def test_asyncapi_is_valid() -> None:
    """The document fits the AsyncAPI Initiative's own schema of version 3.0.0."""
    official = json.loads((ROOT / "tests" / "data" / "asyncapi" / "asyncapi-3.0.0.json").read_text())
    validator = jsonschema.Draft7Validator(official)
    assert [error.message for error in validator.iter_errors(asyncapi())] == []
    broken = {**asyncapi(), "operations": {"x": {"action": "publish", "channel": {"$ref": "#/channels/webhooks"}}}}
    assert not validator.is_valid(broken)


def test_every_reference_leads_somewhere() -> None:
    """Pointers inside the document and files beside it exist; every schema file is used."""
    used = set()
    for reference in references(asyncapi()):
        file, _, pointer = reference.partition("#")
        if file:
            assert (TOPICS / file).is_file(), reference
            used.add(file.removeprefix("./"))
            continue
        found: Any = asyncapi()
        for step in pointer.strip("/").split("/"):
            found = found[step]
    assert used == set(SCHEMAS)


def references(node: Any) -> Iterator[str]:
    """Every `$ref` below `node`."""
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def test_channels_are_the_topic_files() -> None:
    """Addresses, partitions and configurations of the document are those that `topics apply` creates."""
    channels = {channel["address"]: channel["bindings"]["kafka"] for channel in asyncapi()["channels"].values()}
    specs = {spec.name: spec for spec in load_specs(Settings.load())}
    assert set(channels) == set(specs)
    for name, spec in specs.items():
        binding = channels[name]
        assert binding["topic"] == name
        assert binding["partitions"] == spec.partitions
        told = {
            key: ",".join(value) if isinstance(value, list) else str(value)
            for key, value in binding["topicConfiguration"].items()
        }
        assert told == spec.configs


def test_groups_are_the_settings_defaults() -> None:
    """The consumer groups of the document are those that the stages join."""
    operations = asyncapi()["operations"]
    groups = {
        name: operations[name]["bindings"]["kafka"]["groupId"]["const"] for name in ("mapWebhook", "deliverOperation")
    }
    settings = Settings.load()
    assert groups == {"mapWebhook": settings.transform_group, "deliverOperation": settings.sink_group}


@pytest.mark.parametrize("name", samples.names())
def test_every_sample_is_a_webhook(name: str) -> None:
    """What Dodo is known to send fits, known types and unknown ones."""
    schema("webhook").validate(orjson.loads(samples.load(name)))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-10, 10) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
BODIES = st.dictionaries(
    st.sampled_from(["type", "data", "eventType", "payload", "timestamp", "x"]),
    JSON | st.dictionaries(st.sampled_from(["data", "type"]), JSON, max_size=2),
    max_size=5,
)


@given(JSON | BODIES)
def test_what_fits_is_understood(body: Any) -> None:
    """A body that fits the schema is never unreadable to the stages."""
    if schema("webhook").is_valid(body):
        parse(orjson.dumps(body))


@pytest.mark.parametrize(
    "body", [{}, [], "x", {"type": "a"}, {"type": "", "data": {}}, {"type": "a", "data": []}, {"type": 5, "data": {}}]
)
def test_what_does_not_fit_is_unreadable(body: Any) -> None:
    """A body without a type or an object as data fits neither the schema nor the reader."""
    assert not schema("webhook").is_valid(body)
    with pytest.raises(UnreadableBodyError):
        parse(orjson.dumps(body))


def operation(**changes: Any) -> dict[str, Any]:
    """A right event, but for `changes`; None takes a member out."""
    event = {
        "type": "person",
        "identifiers": {"id": "cus_1"},
        "action": "event",
        "name": "payment_completed",
        "id": "01K8N3Q4R5S6T7V8W9X0Y1Z2A3",
        "timestamp": 1792660382,
        "attributes": {"payment_amount": "49.00"},
    }
    return {name: value for name, value in {**event, **changes}.items() if value is not None}


def test_right_operations_fit() -> None:
    """An event and an identify, by id and by e-mail."""
    schema("operation").validate(operation())
    schema("operation").validate(operation(action="identify", name=None, id=None))
    schema("operation").validate(operation(identifiers={"email": "jane@example.com"}))


def test_rare_operations_fit() -> None:
    """A merge, which has two people and no identifiers, and both ways to take a person out."""
    schema("operation").validate(orjson.loads(track.merge("new@example.com", "old@example.com", identifier="email")))
    schema("operation").validate(orjson.loads(track.removal("cus_1", "delete")))
    schema("operation").validate(orjson.loads(track.removal("cus_1", "suppress")))
    merging = {"type": "person", "action": "merge", "primary": {"id": "a"}, "secondary": {"id": "b"}}
    assert not schema("operation").is_valid({**merging, "identifiers": {"id": "a"}})
    assert not schema("operation").is_valid({"type": "person", "action": "delete"})


@pytest.mark.parametrize(
    "changes",
    [
        {"action": "payment_completed"},
        {"action": "identify"},  # with a name
        {"name": None},
        {"name": ""},
        {"name": " padded"},
        {"name": "x" * 101},
        {"id": None},
        {"id": "a5b1c9c0-7d57-4cc5-9f7c-8c5f9e6a1b11"},
        {"id": "81K8N3Q4R5S6T7V8W9X0Y1Z2A3"},  # beyond 128 bits
        {"identifiers": {}},
        {"identifiers": {"id": "cus_1", "email": "jane@example.com"}},
        {"identifiers": {"id": 7}},
        {"identifiers": {"id": "x" * 151}},
        {"timestamp": None},
        {"timestamp": 1792660382000},  # milliseconds
        {"timestamp": "1792660382"},
        {"attributes": None},
        {"attributes": {"id": "x"}},
        {"attributes": {"recipient": "jane@example.com"}},
        {"attributes": {"a.b": 1}},
        {"attributes": {"": 1}},
        {"attributes": {"x" * 151: 1}},
        {"attributes": {"a": "x" * 1001}},
        {"attributes": {f"a{n}": n for n in range(301)}},
        {"data": {"amount": 1}},
    ],
)
def test_wrong_operations_do_not_fit(changes: dict[str, Any]) -> None:
    """What Customer.io refuses, ignores or misunderstands is no operation of ours."""
    assert not schema("operation").is_valid(operation(**changes))


def test_limits_are_the_code_s() -> None:
    """The figures of the schema are those that the pipeline cuts and checks by."""
    operations = document("operation")
    event = operations["oneOf"][1]["properties"]
    attributes = operations["$defs"]["attributes"]
    assert operations["properties"]["identifiers"]["properties"]["id"]["maxLength"] == limits.PERSON_ID_MAX_BYTES
    assert event["name"]["maxLength"] == limits.EVENT_NAME_MAX_BYTES
    assert attributes["maxProperties"] == limits.ATTRIBUTES_MAX
    assert attributes["propertyNames"]["maxLength"] == limits.ATTRIBUTE_NAME_MAX_BYTES
    assert attributes["propertyNames"]["not"]["enum"] == sorted(limits.RESERVED_ATTRIBUTES)
    assert attributes["additionalProperties"]["anyOf"][0]["maxLength"] == limits.ATTRIBUTE_VALUE_MAX_BYTES
    timestamp = operations["properties"]["timestamp"]
    assert (timestamp["minimum"], timestamp["maximum"]) == (limits.TIMESTAMP_MIN_S, limits.TIMESTAMP_MAX_S)


def stored(body: bytes) -> AcceptedWebhook | Unreadable:
    """What ingest makes of a request."""
    return decide(
        body,
        webhook_id="msg_1",
        webhook_timestamp="1792660383",
        mode="live",
        received_at_ms=1792660383250,
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    )


def test_headers_of_a_webhook() -> None:
    """Ingest writes the headers that the schema lists, in the form that it lists."""
    headers = texts(stored(samples.load("payment.succeeded")).record)
    schema("headers/webhook").validate(headers)
    assert set(headers) == set(document("headers/webhook")["properties"]) - {
        records.DLQ_REPLAYS,
        records.REPARTITIONED_FROM,
        records.REPARTITIONED_AMONG,
    }


@pytest.mark.parametrize("class_", CLASSES)
def test_headers_of_a_dead_letter(class_: DeadLetterClass) -> None:
    """Every class of dead letter has the headers that the schema lists, beside the record's own."""
    record = consumed(b"v", key=b"k", headers=(("webhook-id", b"msg_1"),))
    letter = dead_letter(record, stage="sink", class_=class_, reason="no", at_ms=1, field="f", status=422)
    headers = texts(letter)
    schema("headers/dead-letter").validate(headers)
    assert set(headers) == {"webhook-id", *document("headers/dead-letter")["properties"]}
    assert set(document("headers/dead-letter")["properties"]) == OWN_HEADERS
    assert document("headers/dead-letter")["properties"]["dlq-class"]["enum"] == list(CLASSES)


def test_headers_of_an_unreadable_request() -> None:
    """A body that is no webhook goes to the dead letters with both kinds of headers."""
    headers = texts(stored(b"not json").record)
    schema("headers/dead-letter").validate(headers)
    schema("headers/webhook").validate(headers)
    assert headers["dlq-source"] == "http"


def test_headers_of_an_operation() -> None:
    """The transform writes the headers that the schema lists, all of them but the barrier on every operation."""
    webhook = stored(samples.load("payment.succeeded")).record
    record = consumed(webhook.value, webhook.headers, webhook.key)
    decision = decide_record(record, Policy.of(Settings.load()), map_webhook)
    assert isinstance(decision.verdict, Operations)
    written = [texts(operation) for operation in operation_records(record, decision, decision.verdict)]
    assert len(written) == 2
    for headers in written:
        schema("headers/operation").validate(headers)
        optional = {records.BARRIER, records.CHECKED}
        assert set(headers) - optional == set(document("headers/operation")["required"])
        assert next(iter(headers)) == records.CHECKED
    of_an_identify = {records.IDENTITY, records.IDENTITY_OF, records.NOT_BEFORE}
    listed = {
        records.BARRIER,
        records.CHECKED,
        records.DLQ_REPLAYS,
        records.RULES,
        records.TRACEPARENT,
        *of_an_identify,
        *document("headers/operation")["required"],
    }
    assert set(document("headers/operation")["properties"]) == listed


def of_kind(kind: str) -> jsonschema.Draft202012Validator:
    """The schema of one kind of facts."""
    return jsonschema.Draft202012Validator({**document("customer-fact"), "anyOf": [{"$ref": f"#/$defs/{kind}"}]})


FORGET = consumed(
    orjson.dumps({"customer_id": "cus_0NExampleCustomer0001", "at": 1792670383, "customerio": "delete"}),
    (("dodo-command", b"forget"), ("webhook-id", b"forget_1")),
    b"cus_0NExampleCustomer0001",
)


def shares(record: Consumed, store: MemoryStore) -> Iterator[OutRecord]:
    """The shares that follow from a record where people go by an id in their metadata or their address, carried out."""
    policy = Policy(
        person_id_chain=("metadata.app_user_id", "email"),
        metadata=(("plan_tier", "metadata_tier"),),
        forward_card_hints=True,
    )
    for share in decide_record(record, policy, map_webhook, store).commands:
        decide_record(consumed(share.value, share.headers, share.key), policy, map_webhook, store)
        yield share


def test_shares_fit() -> None:
    """What the transform writes of the samples' customers, new, changed and taken back, are commands."""
    store = MemoryStore()
    written: list[OutRecord] = []
    for name in samples.names():
        headers = (("webhook-id", f"msg_{name}".encode()), ("webhook-timestamp", b"1792660383"))
        written += shares(consumed(samples.load(name), headers, b"k"), store)
    written += shares(FORGET, store)
    for share in written:
        schema("command").validate(orjson.loads(share.value or b""))
        schema("headers/command").validate(texts(share))
    values = [orjson.loads(share.value or b"") for share in written]
    assert {value["share"] is None for value in values} == {True, False}
    assert {value.get("customerio") for value in values} == {None, "delete"}
    assert [share.key for share in written] == [
        facts.person_key(value["email"]) if "email" in value else facts.person_key(value["id"], "id")
        for value in values
    ]
    assert {"email" in value for value in values} == {True, False}


def moved_trial() -> bytes:
    """A subscription in a trial whose end lies behind the planned one."""
    body = orjson.loads(samples.load("subscription.updated"))
    dates = dict.fromkeys(("created_at", "previous_billing_date"), "2026-10-20T08:21:45Z")
    body["data"] |= dates | {"next_billing_date": "2026-12-01T08:21:45Z", "trial_period_days": 14}
    return orjson.dumps(body)


def test_every_fact_is_of_its_kind() -> None:
    """Whatever the samples leave behind, told once and again later, has the form that the schema gives its kind."""
    store, shared = MemoryStore(), MemoryStore()
    policy = Policy(
        person_id_chain=("metadata.app_user_id", "customer_id"),
        metadata=(("plan_tier", "metadata_tier"),),
        forward_card_hints=True,
    )
    for attempt in (1792660383, 1792670383):
        for name in samples.names():
            headers = (("webhook-id", f"msg_{name}".encode()), ("webhook-timestamp", b"%d" % attempt))
            decide_record(consumed(samples.load(name), headers, b"k"), policy, map_webhook, store)
            list(shares(consumed(samples.load(name), headers, b"k"), shared))
    decide_record(consumed(moved_trial(), headers, b"k"), policy, map_webhook, store)
    decide_record(FORGET, policy, map_webhook, store)
    list(shares(FORGET, shared))
    found = set()
    for key, fact in (*store.changelog, *shared.changelog):
        kind = facts.split(key)[1]
        found.add(kind)
        if fact is not None:
            of_kind(kind).validate(orjson.loads(fact))
            assert facts.checked(kind, fact) is not None
        schema("customer-fact").validate(orjson.loads(fact or b"null"))
    assert found == set(get_args(facts.Kind)) - {"state", "method"}  # an earlier version wrote the latter
    of_kind("state").validate(orjson.loads(began_value(1792660383250, "9f86d081", 12)))


JUNK: tuple[Any, ...] = (None, True, "x", "", "USD", 7, 1.5, [], {}, [7], [7, 7, "x"], {"x": [7, 7, "x"]}, "9" * 32)


@pytest.mark.parametrize("kind", sorted(set(get_args(facts.Kind)) - {"share"}))
def test_the_border_is_the_schema(kind: str) -> None:
    """What the code takes for a fact is what the schema says, whatever stands in any place of one."""
    fact = FACTS[kind]
    assert fits(kind, fact)
    of_kind(kind).validate(fact)
    refused = 0
    for place in range(len(fact)):
        for junk in JUNK:
            for wrong in ([*fact[:place], junk, *fact[place + 1 :]], [*fact, junk], fact[:place]):
                assert fits(kind, wrong) == of_kind(kind).is_valid(wrong), wrong
                refused += not fits(kind, wrong)
    assert refused > 10


FACTS: dict[str, list[Any]] = {
    "payment": [
        1,
        "USD",
        "2026-10-22T09:13:02Z",
        "new",
        "card",
        False,
        "webhook",
        [["s", 1]],
        [1, 1, 1, "9" * 32, 11],
        [[["pdt", 1]], []],
    ],
    "refund": [1, "USD", "2026-10-22T09:13:02Z", True, "api"],
    "charge": [[[1, "pay_2", "renewal"]], [[1, "pay_1", None]]],
    "card": [1, "pay", "visa", "4242", "12", "2030"],
    "subscription": [
        1, 1, "active", None, False, 1, [[1, 1, "p", 1, "USD", "Month", 1]],
        1, None, [[1, "on_hold"], [2, "answered"], [3, "cancelled", "2026"]], 14,
    ],
    "trial": [[9, 1], [10, 1]],
    "change": [[1, 1, "p", 1, "USD", "Month", 1], [2, 2, None, None, None, None, None]],
    "replacement": [[1, "pm_1", "payment"], [2, None, "subscription"]],
    "unpaid": [[1, 1, "pay", 100, "USD", [["pdt", None]], ["sub"], "https://checkout.example.com/1"]],
    "method": [1, 1, "m"],
    "activation": [1, "msg"],
    "cancellation": [[1, 1, True, "msg"]],
    "dispute": ["2026-10-22T09:13:02Z", "dispute.lost"],
    "identity": [1, 1, "9" * 32, "x", [1, 1, "x", "email"], [1, 1, "x"], None, None, [1, 1, "US"], {"k": [1, 1, True]}],
    "event": [1],
    "forgotten": [1],
    "request": [1, ["9" * 32], [[1, "metadata.user", "u_7", "9" * 32], [1, "email", None, "8" * 32]]],
    "shared": [1, "a@example.com", "9" * 32],
    "person": [1, 1, "9" * 32, ["email"]],
    "state": [1, "x", 12],
}  # fmt: skip


@pytest.mark.parametrize("kind", get_args(facts.Kind))
def test_what_is_no_fact(kind: str) -> None:
    """Neither a text nor an array of another length or of other things."""
    values: tuple[Any, ...] = ("paid", [], {}, [None] * 3, [{}], [4900, "USD"] * 9)
    for value in values:
        assert not of_kind(kind).is_valid(value)


def test_headers_of_a_fact() -> None:
    """The version of the form, as the code writes it."""
    schema("headers/customer-fact").validate({"schema-version": str(facts.SCHEMA_VERSION)})
    assert not schema("headers/customer-fact").is_valid({"schema-version": 1})
