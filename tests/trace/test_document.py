"""A story as it is shown: without `reveal` nobody in it can be recognised."""

from __future__ import annotations

import json
from typing import Any

from pipeline.trace.document import document
from pipeline.trace.story import Operation, Step, Story


def story(**about: Any) -> Story:
    """The story of a webhook whose operation names a person."""
    person = {"name": "Jane Doe", "email": "jane@example.com", "comment_of": "written by Jane Doe"}
    body = {"type": "person", "action": "event", "name": "paid", "identifiers": {"id": "cus_1"}, "attributes": person}
    given: dict[str, Any] = {
        "webhook_id": "msg_1", "type": "payment.succeeded", "mode": "live", "customer": "cus_1", "fate": "accepted",
        "reason": "", "steps": [Step(1, "ingest", "received", "dodo.webhooks/0/1")],
        "operations": [Operation("01M7CJBQH04WBX1AWGKKTKJQA3", "event", "paid", "ops/0/1", 1, "accepted", 0.0, body)],
    }  # fmt: skip
    return Story(**(given | about))


def test_nobody_is_named() -> None:
    """Neither a body nor an id, a type or a name shows a person, wherever a producer wrote it."""
    for about in (
        {},
        {"webhook_id": "for jane@example.com", "type": "of jane@example.com", "mode": "jane@example.com"},
        {"webhook_id": "Jane Doe", "type": "Jane Doe", "customer": "Jane Doe"},
        {"operations": [Operation("Jane Doe", "Jane Doe", "of Jane Doe", "jane@example.com", 1, "waits", None, {})]},
        {"steps": [Step(1, "Jane Doe", "mapped to Jane Doe", "jane@example.com/0/1")], "reason": "Jane Doe"},
        {"advice": ["ask Jane Doe"]},
    ):
        told = story(private=("Jane Doe",), **about)
        assert "jane" not in json.dumps(document(told, reveal=False)).lower(), about
        assert "jane" in json.dumps(document(told, reveal=True)).lower()


def test_what_one_looks_for() -> None:
    """Ids, types and names of events are shown whole."""
    shown = document(story(webhook_id="msg_123456789012345"), reveal=False)
    assert (shown["webhook_id"], shown["type"]) == ("msg_123456789012345", "payment.succeeded")
    assert (shown["operations"][0]["op_id"], shown["operations"][0]["name"]) == ("01M7CJBQH04WBX1AWGKKTKJQA3", "paid")


def test_what_happens_to_be_a_person_s_word() -> None:
    """Where records lie stays, whenever a card expires: what is advised can be done."""
    advice = ["dodo-cio dlq show 0/11 says what to do"]
    steps = [Step(1, "sink", "gave up", "dead letter 0/11"), Step(1, "ingest", "received", "dodo.webhooks/11/12")]
    shown = document(story(steps=steps, advice=advice, private=("sink", "live", "11", "12")), reveal=False)
    assert (shown["advice"], shown["mode"]) == (advice, "live")
    assert [(one["stage"], one["place"]) for one in shown["steps"]] == [
        ("sink", "dead letter 0/11"), ("ingest", "dodo.webhooks/11/12"),
    ]  # fmt: skip
