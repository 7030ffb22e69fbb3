"""`dodo-cio trace` on a real Kafka: what became of webhooks that went through the running chain."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pipeline.demo.chain import Chain
from pipeline.dodo import samples
from pipeline.dodo.samples.fresh import fresh
from pipeline.dodo.signature import sign
from pipeline.kafka.cluster.lag_reader import read_lag
from pipeline.settings import Settings
from tests import forked
from tests.asking import local_client
from tests.conftest import environment_of
from tests.kafka.shared import SharedKafka

pytestmark = pytest.mark.kafka

PATIENCE_S = 240.0
OLD = timedelta(days=4)


def webhook(type_: str, customer: str, *, age: timedelta = timedelta(0), seed: str = "") -> bytes:
    """A sample of this type about a customer of this name."""
    body = json.loads(fresh(samples.load(type_), datetime.now(UTC) - age, seed or customer))
    if "customer" in body["data"]:
        body["data"]["customer"] |= {"customer_id": f"cus_{customer}", "email": f"{customer}@example.com"}
    return json.dumps(body).encode()


PAID = "payment.succeeded"


def traffic() -> dict[str, bytes]:
    """Webhooks by their ids, in the order in which they are sent."""
    told = webhook(PAID, "twice")
    unknown = json.loads(webhook(PAID, "unknown"))
    overtaken = json.loads(webhook("payment.failed", "overtaken"))
    overtaken["data"]["status"] = "succeeded"
    return {
        "msg_accepted": webhook(PAID, "accepted"),
        "msg_payout": webhook("payout.success", "nobody"),
        "msg_late": webhook(PAID, "late", age=OLD),
        "msg_unknown": json.dumps(unknown | {"type": "brand.new"}).encode(),
        "msg_refused": webhook(PAID, "refused"),
        "msg_first": told,
        "msg_again": told,
        "msg_overtaken": json.dumps(overtaken).encode(),
        "msg_garbage": b"[]",
    }


@dataclass
class Traced:
    """What the command printed and its exit code, by its arguments."""

    answers: Mapping[tuple[str, ...], tuple[int, str]]
    payment_id: str

    def one(self, *arguments: str) -> tuple[int, dict[str, Any]]:
        """The exit code, and the only webhook of a JSON answer."""
        code, text = self.answers[(*arguments, "--json")]
        (found,) = json.loads(text)["webhooks"]
        return code, found


@pytest.fixture(scope="module")
def traced(kafka: SharedKafka, tmp_path_factory: pytest.TempPathFactory) -> Traced:
    """The chain with all of `traffic`, and what `trace` says of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIPELINE_KAFKA_BOOTSTRAP_SERVERS", kafka.bootstrap_servers)
        return asyncio.run(_traced(tmp_path_factory.mktemp("trace")))


async def _traced(directory: Path) -> Traced:
    async with Chain(directory, partitions=3, say=lambda _: None) as chain, local_client() as client:
        step = {"match": {"person": "cus_refused"}, "refuse_items": "matched", "times": "always"}
        answer = await client.post(f"{chain.addresses.sandbox}/__sandbox/faults", json=[step])
        assert answer.is_success, answer.text
        sent = traffic()
        for webhook_id, body in sent.items():
            headers = sign(chain.secret, webhook_id, int(time.time()), body)
            answer = await client.post(f"{chain.addresses.ingest}/webhooks/dodo", content=body, headers=headers)
            assert answer.status_code == 200
            await _drained(chain.settings)
        payment_id = json.loads(sent["msg_accepted"])["data"]["payment_id"]
        asked: list[tuple[str, ...]] = [("--webhook-id", one, "--json") for one in (*sent, "msg_never")]
        asked += [
            ("--payment-id", payment_id, "--json"),
            ("--customer", "cus_twice", "--json"),
            ("--customer", "Accepted@Example.com", "--json"),
            ("--webhook-id", "msg_accepted", "--reveal", "--bodies"),
            ("--webhook-id", "msg_accepted", "--bodies"),
            ("--webhook-id", "msg_never"),
            ("--webhook-id", "msg_accepted", "--until", "1h", "--json"),
        ]
        before = await _offsets(chain.settings)
        answers = {arguments: await _trace(chain.settings, arguments) for arguments in asked}
        assert await _offsets(chain.settings) == before, "trace commits nothing"
        return Traced(answers, payment_id)


async def _drained(settings: Settings) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while any(row.records != 0 for row in await read_lag(settings)):  # noqa: ASYNC110 - a reading is a question
            await asyncio.sleep(0.05)


async def _offsets(settings: Settings) -> list[tuple[str, int, int | None]]:
    return [(row.group, row.partition, row.committed) for row in await read_lag(settings)]


async def _trace(settings: Settings, arguments: tuple[str, ...]) -> tuple[int, str]:
    environ = environment_of(settings) | {"COLUMNS": "100"}
    done = await asyncio.to_thread(forked.run, [*forked.PROGRAM, "trace", *arguments], env=environ)
    return done.returncode, done.stdout


def test_one_that_was_accepted(traced: Traced) -> None:
    """When it was received, what it was mapped to, and that Customer.io took each operation."""
    code, found = traced.one("--webhook-id", "msg_accepted")
    assert (code, found["fate"], found["customer"], found["type"]) == (0, "accepted", "cus_accepted", PAID)
    assert [step["stage"] for step in found["steps"]] == ["ingest", "transform"]
    assert [step["at"] for step in found["steps"]] == sorted(step["at"] for step in found["steps"])
    assert [(one["kind"], one["name"], one["fate"]) for one in found["operations"]] == [
        ("identify", None, "accepted"),
        ("event", "payment_completed", "accepted"),
    ]
    assert any("`payment_completed`" in text and "cus_accepted" in text for text in found["advice"])


def test_by_its_payment_and_by_its_customers_address(traced: Traced) -> None:
    """The same webhook is found by either, the address in any case."""
    _, found = traced.one("--webhook-id", "msg_accepted")
    assert traced.one("--payment-id", traced.payment_id) == (0, found)
    assert traced.one("--customer", "Accepted@Example.com") == (0, found)


def test_one_that_a_rule_drops(traced: Traced) -> None:
    """The rule is named, which is nothing wrong."""
    code, found = traced.one("--webhook-id", "msg_payout")
    assert (code, found["fate"], found["operations"]) == (0, "dropped", [])
    assert found["reason"].startswith("payout: ")


def test_one_that_came_late(traced: Traced) -> None:
    """It was accepted, and the answer says how old the event was, and what follows."""
    code, found = traced.one("--webhook-id", "msg_late")
    assert (code, found["fate"]) == (0, "accepted")
    event = next(one for one in found["operations"] if one["kind"] == "event")
    assert event["event_late_s"] == pytest.approx(OLD.total_seconds(), abs=PATIENCE_S)
    assert any("96 hours old" in text and "starts no campaign" in text for text in found["advice"])


@pytest.mark.parametrize(
    ("webhook_id", "stage", "class_"),
    [
        ("msg_unknown", "transform", "unknown-type"),
        ("msg_refused", "sink", "refused"),
        ("msg_garbage", "ingest", "unreadable"),
    ],
)
def test_one_that_was_given_up(webhook_id: str, stage: str, class_: str, traced: Traced) -> None:
    """By which stage, as which class, why, and where the dead letter lies."""
    code, found = traced.one("--webhook-id", webhook_id)
    assert (code, found["fate"]) == (1, "dead-letter")
    assert found["reason"].startswith(f"{class_}: ")
    step = next(step for step in found["steps"] if step["place"].startswith("dead letter "))
    assert step["stage"] == stage
    place = step["place"].removeprefix("dead letter ")
    assert any(f"dodo-cio dlq show {place}" in text for text in found["advice"])


def test_one_that_tells_nothing_new(traced: Traced) -> None:
    """The same payment in another webhook: its event is not sent twice, and the answer says so."""
    code, found = traced.one("--webhook-id", "msg_again")
    assert code == 0
    assert not [one for one in found["operations"] if one["kind"] == "event"]
    said = " ".join([found["reason"], *found["advice"]])
    assert found["fate"] in {"nothing-new", "accepted"}
    assert "payment_completed" in said
    assert "state" in said


def test_one_that_was_overtaken(traced: Traced) -> None:
    """Accepted, and marked: Dodo reads the body anew for each attempt, and the payment had succeeded by then."""
    code, found = traced.one("--webhook-id", "msg_overtaken")
    assert (code, found["fate"]) == (0, "accepted")
    assert any(text.startswith("marked `superseded`") for text in found["advice"])


def test_all_of_a_customers(traced: Traced) -> None:
    """In the order in which they came."""
    code, text = traced.answers["--customer", "cus_twice", "--json"]
    assert code == 0
    assert [one["webhook_id"] for one in json.loads(text)["webhooks"]] == ["msg_first", "msg_again"]


def test_one_that_is_not_there(traced: Traced) -> None:
    """Nothing is found, also outside of the span, and the answer says where else it may be."""
    for arguments in (("--webhook-id", "msg_never"), ("--webhook-id", "msg_accepted", "--until", "1h")):
        code, text = traced.answers[(*arguments, "--json")]
        assert (code, json.loads(text)["webhooks"]) == (1, [])
    code, text = traced.answers["--webhook-id", "msg_never"]
    assert code == 1
    assert "Nothing of webhook id msg_never was received since" in text
    assert "--since" in text


def test_a_persons_data_is_masked(traced: Traced) -> None:
    """Addresses are shown with `--reveal` alone, on screens and in JSON."""
    assert "accepted@example.com" in traced.answers["--webhook-id", "msg_accepted", "--reveal", "--bodies"][1]
    for (*arguments,), (_, text) in traced.answers.items():
        if "--reveal" not in arguments:
            assert "@example.com" not in text.replace("Accepted@Example.com", ""), arguments
    assert "[email]" in traced.answers["--webhook-id", "msg_accepted", "--bodies"][1]
