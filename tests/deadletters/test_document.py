"""A letter as it is shown: without `reveal` nobody in it can be recognised."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest

from pipeline.deadletters.document import details, summary
from pipeline.deadletters.receipts import NEVER

UNSIGNED = b"sha256_" + b"2de123456789012345a0e7" + b"0" * 42
"""The id of a webhook that came without one."""

PERSON = {"customer_id": "cus_1", "name": "Jane Doe", "email": "jane@example.com"}
BODY = {
    "type": "refund.succeeded",
    "data": {
        "customer": PERSON,
        "reason": "asked for by Jane Doe",
        "payment_id": "pay_1",
        "plan": {"note": "JANE DOE"},
    },
}


@pytest.mark.parametrize(
    "about",
    [
        {},
        {"headers": (("webhook-id", b"for jane@example.com"), ("op-id", b"jane@example.com:identify"))},
        {"headers": (("webhook-id", b"Jane Doe"), ("op-id", b"Jane Doe"))},
        {"headers": (("dodo-type", b"refund.jane@example.com"),)},
        {"headers": (("dodo-type", b"of Jane Doe"),), "source": "jane@example.com/0/1", "key": b"Jane Doe"},
        {"class_": "Jane Doe", "stage": "jane@example.com", "reason": "no Jane Doe", "field": "data.jane@example.com"},
        {"stage": "sink", "value": orjson.dumps({"identifiers": {"id": "Jane Doe"}, "attributes": PERSON})},
        {"value": orjson.dumps([BODY]), "reason": "of Jane Doe"},
    ],
)
def test_nobody_is_named(make: Any, about: dict[str, Any]) -> None:
    """Neither the body nor anything about it names a person, wherever a producer wrote the name or the address."""
    record, letter = make(**({"value": orjson.dumps(BODY)} | about))
    for told in (summary, details):
        shown = json.dumps(told(record, letter, NEVER, reveal=False)).lower()
        assert "jane" not in shown
        assert "jane" in json.dumps(told(record, letter, NEVER, reveal=True)).lower()


def test_what_one_looks_for(make: Any) -> None:
    """The ids by which Dodo and this pipeline name things are shown whole, also with many digits in them."""
    headers = (("webhook-id", b"msg_123456789012345"), ("op-id", b"msg_123456789012345:identify"))
    record, letter = make(headers=headers, value=orjson.dumps(BODY), stage="sink")
    found = details(record, letter, NEVER, reveal=False)
    assert (found["webhook_id"], found["op_id"]) == ("msg_123456789012345", "msg_123456789012345:identify")
    assert ["webhook-id", "msg_123456789012345"] in found["headers"]
    assert found["body"]["data"]["payment_id"] == "pay_1"
    assert found["body"]["type"] == "refund.succeeded"
    record, letter = make(headers=(("webhook-id", UNSIGNED),))
    unsigned = details(record, letter, NEVER, reveal=False)
    assert unsigned["webhook_id"] == UNSIGNED.decode()
    assert ["webhook-id", UNSIGNED.decode()] in unsigned["headers"]


def test_what_happens_to_be_a_person_s_word(make: Any) -> None:
    """Classes, stages and places stay, whoever is called so and whenever a card expires: one finds by them."""
    person = {"customer": {"name": "Unknown"}, "card_exp_month": "11", "billing": {"zipcode": "12"}}
    about = {"class_": "unknown-type", "stage": "sink", "source": "dodo.webhooks/11/12"}
    reason = "as customerio.operations/11/12: month 11, dodo-cio dlq show 0/11"
    record, letter = make(value=orjson.dumps(person), reason=reason, **about)
    found = details(record, letter, NEVER, reveal=False)
    assert (found["class"], found["stage"], found["source"]) == tuple(about.values())
    assert found["reason"] == "as customerio.operations/11/12: month [private], dodo-cio dlq show 0/11"
    assert [value for name, value in found["headers"] if name in {"dlq-class", "dlq-stage", "dlq-source"}] == [
        "sink", "unknown-type", "dodo.webhooks/11/12",
    ]  # fmt: skip
