"""An independent look at what leaves: no secret, no excess, no wrong amount, whatever sample comes in.

Nothing here reads the mapping's tables; the checks know only the samples and Customer.io's limits.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import orjson
import pytest

from pipeline.dodo import samples
from pipeline.dodo.catalogue import TYPES
from pipeline.dodo.envelope import parse
from pipeline.transform.mapping import map_webhook
from pipeline.transform.mapping.webhook import decide
from pipeline.transform.policy import Policy
from pipeline.transform.verdicts import DeadLettered, Delivery, Mode, Operations, Verdict
from pipeline.transform.webhook import Webhook

EXPONENTS = {"USD": 2, "JPY": 0, "KRW": 0, "KWD": 3}
ULID = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}")
SECRET_FIELDS = frozenset(
    {"key", "download_url", "oauth_url", "error_message", "error_code", "external_url", "cancellation_comment"}
)
CUSTOMER_FIELDS = frozenset({"customer", "billing"})
EVERYTHING = Policy(
    metadata=(("order_ref", "metadata_order_ref"), ("app_user_id", "metadata_app_user_id")),
    emit_first_renewal=True,
    emit_credit_deducted=True,
    forward_card_hints=True,
    forward_test_mode=True,
)
"""Whatever may be sent is sent."""

NAMES = [name for name in samples.names() if name != "unknown.future_event"]


def verdict_of(name: str, policy: Policy = EVERYTHING) -> Verdict:
    """The verdict about a sample, by the function that no safety net wraps."""
    body = samples.load(name)
    mode: Mode = "test" if "dashboard" in name or "--docs" in name else "live"
    delivery = Delivery("msg_sample", attempt_at_s=1_800_000_000, received_at_ms=1_800_000_000_500, mode=mode)
    return decide(Webhook.of(parse(body), delivery), policy)


def secrets_of(node: Any, inside: str = "") -> Iterator[str]:
    """Every text of a body that must not leave: secret fields anywhere, and addresses that are not the customer's."""
    if isinstance(node, dict):
        for name, value in node.items():
            if name in SECRET_FIELDS and isinstance(value, str) and len(value) > 3:
                yield value
            if inside == "cancelled_by" and name in {"email", "name"} and isinstance(value, str):
                yield value
            if name not in CUSTOMER_FIELDS:
                yield from secrets_of(value, name)
    elif isinstance(node, list):
        for element in node:
            yield from secrets_of(element, inside)


@pytest.mark.parametrize("name", samples.names())
def test_every_sample_is_decided_without_an_exception(name: str) -> None:
    """Also by the vendor's odd examples, under both ways in."""
    delivery = Delivery("msg_sample", attempt_at_s=1_800_000_000)
    unguarded = decide(Webhook.of(parse(samples.load(name)), delivery), Policy())
    assert unguarded == map_webhook(Webhook.of(parse(samples.load(name)), delivery), Policy())


@pytest.mark.parametrize("name", NAMES)
def test_nothing_secret_leaves(name: str) -> None:
    """Licence keys, presigned and OAuth links, raw failure texts and staff addresses are nowhere in the bytes."""
    verdict = verdict_of(name)
    body = orjson.loads(samples.load(name))
    customer = body["data"].get("customer") or {}
    sent = b"".join(o.body for o in verdict.operations).decode() if isinstance(verdict, Operations) else ""
    for secret in set(secrets_of(body["data"])) - {customer.get("email"), customer.get("name")}:
        assert secret not in sent, secret
    assert "holder" not in sent
    assert "4242" not in sent or '"card_last_four":"4242"' in sent


def test_the_search_for_secrets_finds_them() -> None:
    """The check above looks at real needles: each kind of secret occurs in some sample."""
    found = {secret for name in NAMES for secret in secrets_of(orjson.loads(samples.load(name))["data"])}
    for needle in ("PRO-AAAA-BBBB-CCCC-DDDD", "ops@example.com", "INSUFFICIENT_FUNDS", "discord.com", "Signature="):
        assert any(needle in secret for secret in found), needle


@pytest.mark.parametrize("name", NAMES)
def test_operations_stay_inside_the_limits(name: str) -> None:
    """Values of at most 1000 bytes, items of at most 32,000, no attribute that re-addresses a person or a mail."""
    verdict = verdict_of(name)
    if not isinstance(verdict, Operations):
        return
    for operation in verdict.operations:
        assert len(operation.body) <= 32_000
        attributes = orjson.loads(operation.body)["attributes"]
        assert len(attributes) <= 300
        assert not {"id", "cio_id", "recipient", "from_address", "reply_to", "_update"} & attributes.keys()
        for attribute, value in attributes.items():
            assert len(attribute.encode()) <= 150
            assert "." not in attribute
            size = len(value.encode()) if isinstance(value, str) else len(orjson.dumps(value))
            assert size <= 1000, attribute


@pytest.mark.parametrize("name", NAMES)
def test_operations_have_the_documented_form(name: str) -> None:
    """Identify before event, one person, one identifier, whole seconds, a ULID for each event, an address on it."""
    verdict = verdict_of(name)
    if not isinstance(verdict, Operations):
        return
    kinds = [operation.kind for operation in verdict.operations]
    assert kinds in (["identify", "event"], ["identify"], ["event"])
    for operation in verdict.operations:
        sent = orjson.loads(operation.body)
        assert sent["type"] == "person"
        assert sent["action"] == operation.kind
        assert sent["identifiers"] == {"id": verdict.person_key.decode()}
        assert type(sent["timestamp"]) is int
        assert 1_000_000_000 <= sent["timestamp"] < 100_000_000_000
        if operation.kind == "event":
            assert ULID.fullmatch(sent["id"])
            assert sent["attributes"]["dodo_event_type"] == orjson.loads(samples.load(name))["type"]
            assert sent["attributes"]["webhook_id"] == "msg_sample"


@pytest.mark.parametrize("name", NAMES)
def test_amounts_agree_with_themselves(name: str) -> None:
    """Each amount's text times its currency's unit is the integer that was sent, and its number is its text."""
    verdict = verdict_of(name)
    if not isinstance(verdict, Operations):
        return
    for operation in verdict.operations:
        attributes = orjson.loads(operation.body)["attributes"]
        for attribute in [a for a in attributes if a.endswith("_minor")]:
            base = attribute.removesuffix("_minor")
            if attributes[attribute] is None:  # taken off the profile, in all its forms
                assert (attributes[base], attributes[f"{base}_value"]) == (None, None)
                continue
            exponent = EXPONENTS[attributes.get("currency") or attributes["subscription_currency"]]
            assert Decimal(attributes[base]) * 10**exponent == attributes[attribute]
            assert len(attributes[base].partition(".")[2]) == exponent
            assert Decimal(str(attributes[f"{base}_value"])) == Decimal(attributes[base])


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("payment.") and "trial" not in name])
def test_a_payments_amount_is_the_one_that_was_charged(name: str) -> None:
    """`payment_amount_minor` is the body's `total_amount`, to the unit."""
    verdict = verdict_of(name)
    assert isinstance(verdict, Operations)
    sent = orjson.loads(verdict.operations[-1].body)["attributes"]
    assert sent["payment_amount_minor"] == orjson.loads(samples.load(name))["data"]["total_amount"]


def test_all_types_were_looked_at() -> None:
    """The samples hold every type that Dodo sends."""
    assert {orjson.loads(samples.load(name))["type"] for name in NAMES} >= set(TYPES)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_webhook_gives_the_same_bytes(name: str) -> None:
    """A retry, a replay and a crash in between send what was sent before."""
    assert verdict_of(name) == verdict_of(name)


@pytest.mark.parametrize("name", NAMES)
def test_a_retry_keeps_the_events_id(name: str) -> None:
    """The attempt's time and the body's hash are of the delivery; the event's id is of the fact."""
    body = parse(samples.load(name))
    first = decide(Webhook.of(body, Delivery("msg_1", attempt_at_s=1_800_000_000, mode="test")), EVERYTHING)
    later = decide(Webhook.of(body, Delivery("msg_1", attempt_at_s=1_800_099_305, mode="test")), EVERYTHING)
    if isinstance(first, Operations) and isinstance(later, Operations):
        assert [o.op_id for o in first.operations if o.kind == "event"] == [
            o.op_id for o in later.operations if o.kind == "event"
        ]


def test_an_operation_too_large_is_a_dead_letter() -> None:
    """Forty long metadata values fit one by one and not together: oversize, nothing is cut away in silence."""
    webhook = orjson.loads(samples.load("payment.succeeded"))
    keys = [f"key_{number}" for number in range(40)]
    webhook["data"]["metadata"] = dict.fromkeys(keys, "x" * 900)
    policy = Policy(metadata=tuple((key, f"metadata_{key}") for key in keys))
    verdict = map_webhook(Webhook.of(parse(orjson.dumps(webhook)), Delivery("msg_1")), policy)
    assert isinstance(verdict, DeadLettered)
    assert verdict.class_ == "oversize"
    assert verdict.field == "attributes"
