"""Bodies that nobody would send: the mapping tolerates them or ends in a verdict, and never raises."""

from __future__ import annotations

import copy
import re
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.dodo import samples
from pipeline.dodo.catalogue import TYPES
from pipeline.dodo.envelope import Envelope, parse
from pipeline.errors import UnreadableBodyError
from pipeline.transform.mapping import map_body
from pipeline.transform.mapping.webhook import decide
from pipeline.transform.policy import Policy
from pipeline.transform.verdicts import DeadLettered, Delivery, Dropped, Operations, Verdict
from pipeline.transform.webhook import Webhook

BODIES = {name: orjson.loads(samples.load(name)) for name in samples.names()}
POLICIES = (
    Policy(),
    Policy(
        person_id_chain=("metadata.app_user_id", "email", "customer_id"),
        title_names=True,
        metadata=(("order_ref", "metadata_order_ref"), ("seats", "metadata_seats")),
        product_names={"pdt_0NExampleProduct00001": "Team"},
        emit_first_renewal=True,
        emit_credit_deducted=True,
        forward_card_hints=True,
        forward_test_mode=True,
    ),
    Policy(person_id_chain=("email",)),
)
ODD = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=40)
    | st.sampled_from(
        [
            "",
            " ",
            "0",
            "-1",
            "1e400",
            "NaN",
            "2026-10-14T08:21:45Z",
            "2026-02-30T00:00:00Z",
            "9999-12-31T23:59:59.999999999Z",
            "0001-01-01T00:00:00+23:59",
            "\u202eevil",
            "9" * 5000,
            "9999-12-31T23:59:59-23:59",
            "🎉" * 600,
            "https://example.com/" + "x" * 2000,
            "USD",
            "XXX",
            "opted_out",
            "cancelled",
            "Day",
        ]
    )
)
JUNK = st.recursive(
    ODD,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=8,
)
DELIVERIES = st.builds(
    Delivery,
    webhook_id=st.text(min_size=1, max_size=60),
    attempt_at_s=st.none() | st.integers(-(10**12), 10**19),
    received_at_ms=st.none() | st.integers(-(10**15), 10**19),
    mode=st.sampled_from(["live", "test"]),
)


def paths(node: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to every value inside."""
    found = [here] if here else []
    if isinstance(node, dict):
        for key, value in node.items():
            found += paths(value, (*here, key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            found += paths(value, (*here, index))
    return found


def change(body: Any, path: tuple[Any, ...], value: Any, *, remove: bool) -> None:
    """Put `value` at `path`, or take away what is there; a path that an earlier change removed is skipped."""
    for step in path[:-1]:
        try:
            body = body[step]
        except (KeyError, IndexError, TypeError):
            return
    if not isinstance(body, dict if isinstance(path[-1], str) else list):
        return
    try:
        if remove:
            del body[path[-1]]
        else:
            body[path[-1]] = value
    except (KeyError, IndexError, TypeError):
        return


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A sample with up to six of its values replaced by junk, or gone."""
    body = copy.deepcopy(BODIES[draw(st.sampled_from(sorted(BODIES)))])
    ways = [path for path in paths(body) if path != ("type",)]
    for _ in range(draw(st.integers(1, 6))):
        change(body, draw(st.sampled_from(ways)), draw(JUNK), remove=draw(st.booleans()))
    return orjson.dumps(body)


def check(verdict: Verdict) -> None:
    """What every verdict promises."""
    match verdict:
        case Operations():
            assert verdict.operations
            for operation in verdict.operations:
                assert len(operation.body) <= 32_000
                sent = orjson.loads(operation.body)
                assert list(sent["identifiers"].values()) == [verdict.person_key.decode()]
                assert 1_000_000_000 <= sent["timestamp"] < 100_000_000_000
                for name, value in sent["attributes"].items():
                    assert name != "id"
                    assert len(value.encode() if isinstance(value, str) else orjson.dumps(value)) <= 1000
                    if name.endswith("_minor"):
                        assert type(value) is int or (value is None and operation.kind == "identify")
                if operation.kind == "event":
                    assert re.fullmatch(r"[0-7][0-9A-HJKMNP-TV-Z]{25}", sent["id"])
            assert verdict.event_time_ms > 0
        case Dropped():
            assert verdict.text
        case DeadLettered():
            assert verdict.reason
            assert "a bug to report" not in verdict.reason


@settings(max_examples=600, deadline=None)
@given(mutated(), DELIVERIES, st.sampled_from(POLICIES))
def test_mutated_samples_end_in_a_verdict(body: bytes, delivery: Delivery, policy: Policy) -> None:
    """Wrong types, missing fields, garbage dates, odd deliveries: operations inside the limits, or a reason."""
    try:
        envelope = parse(body)
    except UnreadableBodyError:
        check(map_body(body, delivery, policy))
        return
    check(decide(Webhook.of(envelope, delivery), policy))


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(TYPES)), st.dictionaries(st.text(max_size=12), JUNK, max_size=6), DELIVERIES)
def test_bodies_of_junk_end_in_a_verdict(type_: str, data: dict[str, Any], delivery: Delivery) -> None:
    """A known type over anything at all."""
    data = {"customer_id": "cus_1", **data}
    envelope = Envelope(type_, "2026-10-14T08:21:45Z", None, data, {})
    check(decide(Webhook.of(envelope, delivery), POLICIES[1]))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_bytes_of_any_kind_end_in_a_verdict(body: bytes) -> None:
    """Whatever a topic holds."""
    check(map_body(body, Delivery("msg_1", attempt_at_s=1_800_000_000), Policy()))


@pytest.mark.parametrize("field", ["customer", "metadata", "billing", "discounts", "product_cart", "subscription_ids"])
@pytest.mark.parametrize("junk", [None, True, 0, 1.5, "x", [], [None], [[]], {}, {"a": {}}, [{"a": 1}]])
def test_containers_of_the_wrong_kind(field: str, junk: Any) -> None:
    """A list for an object, an object for a list, a number for either."""
    body = copy.deepcopy(BODIES["payment.succeeded"])
    body["data"][field] = junk
    check(decide(Webhook.of(parse(orjson.dumps(body)), Delivery("msg_1")), POLICIES[1]))


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("payment.succeeded", {"retry_attempt": "9" * 5000}),
        ("payment.succeeded", {"product_cart": [{"product_id": "pdt_1", "quantity": "9" * 5000}]}),
        ("subscription.active", {"addons": [{"addon_id": "adn_1", "quantity": "9" * 5000}]}),
    ],
)
def test_endless_digits_are_no_number(name: str, data: dict[str, Any]) -> None:
    """Python refuses to read more than 4,300 digits; the payment is told without the figure."""
    body = copy.deepcopy(BODIES[name])
    body["data"].update(data)
    verdict = decide(Webhook.of(parse(orjson.dumps(body)), Delivery("msg_1")), Policy())
    assert isinstance(verdict, Operations)
    assert b"9999" not in verdict.operations[-1].body


@settings(max_examples=200, deadline=None)
@given(mutated())
def test_what_is_decided_is_decided_again(body: bytes) -> None:
    """The same bytes and delivery give the same verdict, byte for byte."""
    delivery = Delivery("msg_1", attempt_at_s=1_800_000_000)
    assert map_body(body, delivery, POLICIES[1]) == map_body(body, delivery, POLICIES[1])
