"""What became of a webhook follows from records, dead letters and committed offsets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from aiokafka.structs import TopicPartition

from pipeline.deadletters.letter import read_letter
from pipeline.dodo import samples
from pipeline.kafka.fetched import FetchedRecord
from pipeline.kafka.records import Record
from pipeline.settings import Settings
from pipeline.trace.again import Decider
from pipeline.trace.assembly import stories
from pipeline.trace.search import Found, Letters, customer_of
from pipeline.trace.story import Story

W, OPS, D = "dodo.webhooks", "customerio.operations", "dodo-customerio.dead-letters"
AT = 1_800_000_000_000
BODY = samples.load("payment.succeeded")
CUSTOMER = json.loads(BODY)["data"]["customer"]["customer_id"]


def record(topic: str, offset: int, value: bytes | None, at_ms: int = AT, **headers: str) -> FetchedRecord:
    """A record of partition 0."""
    named = [(name.replace("_", "-"), text.encode()) for name, text in headers.items()]
    return FetchedRecord(topic, 0, offset, at_ms, 0, CUSTOMER.encode(), value, named)


def webhook(offset: int, at_ms: int = AT, **headers: str) -> FetchedRecord:
    """The payment as ingest stored it."""
    given = {"webhook_id": "msg_1", "dodo_type": "payment.succeeded", "dodo_mode": "live", "received_at": str(at_ms)}
    return record(W, offset, BODY, at_ms, **(given | headers))


def operation(offset: int, *, source: int = 0, op_id: str = "op_1", at_ms: int = AT + 50) -> FetchedRecord:
    """What the transform made of it."""
    body: dict[str, Any] = {
        "type": "person", "identifiers": {"id": CUSTOMER}, "action": "event", "name": "payment_completed",
    }  # fmt: skip
    headers = {"op_id": op_id, "webhook_id": "msg_1", "event_time": str(AT), "source": f"{W}/0/{source}"}
    return record(OPS, offset, json.dumps(body).encode(), at_ms, **headers)


def letter(stage: str, source: str, *, put_back: int = 0, **headers: str) -> Letters:
    """A dead letter about either."""
    given = {
        "webhook_id": "msg_1", "dlq_stage": stage, "dlq_class": "unmappable", "dlq_reason": "why", "dlq_source": source,
        "dlq_at": str(AT + 70),
    }  # fmt: skip
    one = record(D, 3, BODY, AT + 70, **(given | headers))
    return Letters(one, read_letter(one), put_back)


def told(found: Found, transform: int | None, sink: int | None, **settings_: Any) -> Story:
    """The only story; offsets are what the groups have committed."""
    for topic, offset in ((W, transform), (OPS, sink)):
        if offset is not None:
            found.committed[TopicPartition(topic, 0)] = offset
    for one in found.webhooks:
        found.before.setdefault(customer_of(one) or "", []).append(one)
    settings = Settings.load(**settings_)
    (story,) = stories(found, settings, Decider(settings))
    return story


def test_the_transform_has_not_come_to_it() -> None:
    """It waits, behind so many records."""
    story = told(Found(webhooks=[webhook(7)]), 4, 0)
    assert story.fate == "waits"
    assert story.reason == f"the transform has not come to {W}/0/7: its partition's 3 records before it are not done"
    assert any("dodo-cio lag" in text for text in story.advice)


def test_the_sink_has_not_come_to_it() -> None:
    """An operation that waits makes the webhook wait, whatever was accepted of it."""
    found = Found(webhooks=[webhook(0)], operations=[operation(4), operation(5, op_id="op_2")])
    story = told(found, 1, 5)
    assert (story.fate, [one.fate for one in story.operations]) == ("waits", ["accepted", "waits"])
    assert story.reason == f"the sink has not come to {OPS}/0/5: 0 operations before it in its partition are not done"


def test_nobody_tells_how_far_a_group_is() -> None:
    """What may not be seen is no acceptance and no fault."""
    assert told(Found(webhooks=[webhook(0)]), None, None).fate == "unknown"
    story = told(Found(webhooks=[webhook(0)], operations=[operation(4)]), 1, None)
    assert story.fate == "unknown"
    assert any("DESCRIBE" in text for text in story.advice)


def test_a_group_that_never_committed_has_accepted_nothing() -> None:
    """No offset is not the highest one."""
    found = Found(webhooks=[webhook(0)], operations=[operation(4)])
    found.committed[TopicPartition(OPS, 0)] = None
    assert told(found, 1, None).fate == "waits"


def test_a_letter_that_was_put_back() -> None:
    """A dead letter of the transform that was replayed and then accepted is accepted, and all of that is told."""
    found = Found(
        webhooks=[webhook(0), webhook(9, AT + 1000, dlq_replays="1")],
        operations=[operation(4, source=9, at_ms=AT + 1100)],
        letters=[letter("transform", f"{W}/0/0", put_back=1)],
    )
    story = told(found, 10, 5)
    assert story.fate == "accepted"
    assert [step.stage for step in story.steps] == ["ingest", "transform", "dlq", "transform"]
    assert "put back 1 time" in story.steps[1].text
    assert story.steps[2].text == "put back, replay 1"


def test_a_letter_that_waits_for_somebody() -> None:
    """An operation that the sink gave up is the webhook's fate, though another one was accepted."""
    found = Found(
        webhooks=[webhook(0)],
        operations=[operation(4), operation(5, op_id="op_2")],
        letters=[letter("sink", f"{OPS}/0/5", op_id="op_2")],
    )
    story = told(found, 1, 6)
    assert (story.fate, story.reason) == ("dead-letter", "unmappable: why")
    assert [one.fate for one in story.operations] == ["accepted", "dead-letter"]
    assert any("dodo-cio dlq show 0/3" in text for text in story.advice)


def test_an_operation_that_was_put_back_and_accepted() -> None:
    """Its record in the operations' topic that came furthest is its fate."""
    found = Found(
        webhooks=[webhook(0)],
        operations=[operation(4), operation(8, at_ms=AT + 900)],
        letters=[letter("sink", f"{OPS}/0/4", op_id="op_1", put_back=1)],
    )
    assert told(found, 1, 9).fate == "accepted"


def test_one_that_was_sent_on() -> None:
    """A record in another partition than its customer's is a step; its copy tells the end."""
    copy = webhook(3, AT + 20, repartitioned_from=f"{W}/1/7", repartitioned_among="2")
    origin = webhook(7)
    origin.partition = 1
    found = Found(webhooks=[origin, copy], operations=[operation(4, source=3)])
    found.committed[TopicPartition(W, 1)] = 8
    story = told(found, 4, 5)
    assert story.fate == "accepted"
    assert f"sent on to its customer's partition, from {W}/1/7" in [step.text for step in story.steps]


def test_a_second_telling_is_explained_by_the_first() -> None:
    """What was known decides again: the second webhook of one payment has nothing new, the first would have."""
    second = webhook(1, AT + 500, webhook_id="msg_2")
    found = Found(webhooks=[second])
    found.before[CUSTOMER] = [webhook(0)]
    story = told(found, 2, 0)
    assert story.fate == "nothing-new"
    assert "payment_completed" in story.reason


def test_ones_own_rules_take_it_away(tmp_path: Path) -> None:
    """What the user's rules leave out is said to be left out by them: all of it, or the event alone."""
    sent: dict[str, list[Record]] = {"both": [], "event": [operation(4)]}
    for drop, operations in sent.items():
        rules = tmp_path / f"{drop}.yaml"
        rules.write_text(f"rules:\n  - name: silence\n    match: {{type: payment.succeeded}}\n    drop: {drop}\n")
        story = told(Found(webhooks=[webhook(0)], operations=operations), 1, 5, rules=rules)
        said = " ".join([story.reason, *story.advice])
        assert "your own rules or code" in said
        assert story.fate == ("accepted" if operations else "dropped")


def test_private_words_come_from_all_that_was_read() -> None:
    """A person's words in the webhook, the operation or the letter are hidden in the whole story."""
    customer = json.loads(BODY)["data"]["customer"]
    alone = told(Found(webhooks=[webhook(0)]), 0, 0)
    assert {customer["name"], customer["email"]} <= set(alone.private)
    assert customer["name"] in told(Found(letters=[letter("ingest", "http")]), 0, 0).private
