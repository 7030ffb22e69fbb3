"""`dodo-cio backfill` and `dodo-cio forget` on a real Apache Kafka, against a stand-in of Dodo's API."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRecord
from typer.testing import CliRunner

from pipeline.backfill.commands import OBJECTS
from pipeline.cli import build
from pipeline.dodo.simulator import Shop
from pipeline.errors import CredentialError, InputError, PipelineError, SettingsError, TopicError
from pipeline.kafka.producer.partitioner import partition_of
from pipeline.kafka.records import text_header
from pipeline.settings import Settings
from tests import forked
from tests.dodo.stand_in import LIVE_KEY, Account, error, served

pytestmark = pytest.mark.kafka

ChainSettings = Callable[..., Awaitable[Settings]]

NOW = datetime.now(UTC)
PARTITIONS = 4
ALWAYS = "2000-01-01"


class Desk:
    """The commands at hand, topics of their own, and an account at Dodo."""

    def __init__(self, settings: Settings, environ: dict[str, str], account: Account) -> None:
        self.settings = settings
        self.environ = environ
        self.account = account

    def run(self, *arguments: str, exit_code: int = 0, stdin: str | None = None, **environ: str) -> str:
        """Standard output of `dodo-cio …`, which must end with this code and no error."""
        result = CliRunner().invoke(build(), arguments, env=self.environ | environ, input=stdin)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        assert result.exit_code == exit_code, result.output
        return result.stdout

    def fails(self, *arguments: str, **environ: str) -> PipelineError:
        """The error that it ends with."""
        result = CliRunner().invoke(build(), arguments, env=self.environ | environ)
        assert isinstance(result.exception, PipelineError), result.output
        return result.exception

    def summary(self, *arguments: str, exit_code: int = 0) -> dict[str, Any]:
        """The summary of `dodo-cio backfill … --yes --json`, at a rate that no test waits for."""
        text = self.run("backfill", *arguments, "--yes", "--json", "--rate", "100000", exit_code=exit_code)
        found: dict[str, Any] = json.loads(text)
        return found

    def commands(self) -> list[ConsumerRecord]:
        """What lies in the webhooks' topic, partition by partition."""
        return asyncio.run(self._stored())

    async def _stored(self) -> list[ConsumerRecord]:
        consumer = AIOKafkaConsumer(
            self.settings.webhooks_topic,
            bootstrap_servers=self.settings.kafka_bootstrap_servers,
            auto_offset_reset="earliest",
        )
        await consumer.start()
        try:
            found: list[ConsumerRecord] = []
            ends = await consumer.end_offsets(consumer.assignment())
            while [tp for tp, end in ends.items() if await consumer.position(tp) < end]:
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    found += records
            return sorted(found, key=lambda record: (record.partition, record.offset))
        finally:
            await consumer.stop()

    def values(self) -> list[dict[str, Any]]:
        """Their values."""
        return [orjson.loads(record.value) for record in self.commands()]

    def state_files(self) -> list[Path]:
        """What unfinished backfills left behind."""
        return sorted(self.settings.data_dir.glob("backfill-*"))


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[Account, str]]:
    """The stand-in of Dodo, for all tests one after the other."""
    account = Account()
    with served(account) as url:
        yield account, url


@pytest.fixture
def desk(
    chain_settings: ChainSettings,
    environment: Callable[[Settings], dict[str, str]],
    server: tuple[Account, str],
) -> Desk:
    """An empty pipeline, and an empty account."""
    account, url = server
    account.reset(limits=())
    settings = asyncio.run(_settings(chain_settings, url))
    return Desk(settings, environment(settings), account)


async def _settings(chain_settings: ChainSettings, url: str) -> Settings:
    return await chain_settings(partitions=PARTITIONS, dodo_api_key=LIVE_KEY, dodo_api_url=url)


@pytest.fixture
def shop(desk: Desk) -> Shop:
    """A shop that existed before the pipeline."""
    shop = Shop(11, NOW)
    desk.account.learn(d.body for d in shop.deliveries(500) if d.kind == "first")
    return shop


def payments(desk: Desk, count: int, step: timedelta = timedelta(minutes=1)) -> None:
    """So many payments of as many customers, one each `step` up to an hour ago."""
    for number in range(count):
        created_at = (NOW - timedelta(hours=1) - step * number).isoformat().replace("+00:00", "Z")
        desk.account.objects["payments"][f"pay_{number}"] = {
            "payment_id": f"pay_{number}",
            "created_at": created_at,
            "status": "succeeded",
            "total_amount": 100,
            "customer": {"customer_id": f"cus_{number}", "email": f"{number}@example.com"},
        }


def test_a_whole_shop(desk: Desk, shop: Shop) -> None:
    """Every succeeded payment and refund and every subscription is one command in its customer's partition."""
    began = time.time()
    summary = desk.summary("--from", ALWAYS)
    objects = desk.account.objects
    settled = {
        "payments": {k: v for k, v in objects["payments"].items() if v["status"] == "succeeded"},
        "refunds": {k: v for k, v in objects["refunds"].items() if v["status"] == "succeeded"},
        "subscriptions": objects["subscriptions"],
    }
    assert all(settled.values())
    expected = {
        f"backfill_{OBJECTS[name]}_{key}": item["customer"]["customer_id"]  # type: ignore[index]
        for name, items in settled.items()
        for key, item in items.items()
    }
    records = desk.commands()
    assert {text_header(r.headers, "webhook-id"): r.key.decode() for r in records} == expected
    assert len(records) == len(expected)
    for record in records:
        value = orjson.loads(record.value)
        assert record.partition == partition_of(record.key, PARTITIONS)
        assert value["customer_id"] == record.key.decode()
        assert (value["emit_identify"], value["revive"], value["command"]) == (False, False, "backfill")
        assert began - 1 <= value["read_at"] <= time.time() + 1  # whole seconds
        assert text_header(record.headers, "dodo-command") == "backfill"
        assert text_header(record.headers, "dodo-mode") == "live"
    assert summary["objects"] == {name: len(items) for name, items in settled.items()}
    assert (summary["customers"], summary["left_out"]) == (len(set(expected.values())), 0)
    assert summary["complete"]
    assert desk.state_files() == []
    assert shop.ledger.payments


def test_refunds_alone_ask_for_each_payment_once(desk: Desk) -> None:
    """A refund's customer comes from its payment, which is asked for once however many refunds it has."""
    payments(desk, 3)
    for number in range(6):
        desk.account.objects["refunds"][f"ref_{number}"] = {
            "refund_id": f"ref_{number}",
            "payment_id": f"pay_{number % 2}",
            "created_at": desk.account.objects["payments"]["pay_0"]["created_at"],
            "status": "succeeded",
            "amount": 10,
        }
    desk.summary("--from", ALWAYS, "--what", "refunds")
    assert Counter(value["customer_id"] for value in desk.values()) == {"cus_0": 3, "cus_1": 3}
    asked = Counter(path for path in desk.account.requests if path.startswith("/payments/"))
    assert asked == {"/payments/pay_0": 1, "/payments/pay_1": 1}


def test_card_update_is_found_out(desk: Desk) -> None:
    """A charge that only stored a card goes on with the flag that its list item lacks."""
    payments(desk, 1)
    desk.account.objects["payments"]["pay_0"] |= {"subscription_id": "sub_1", "is_update_payment_method": True}
    desk.summary("--from", ALWAYS)
    assert [value["data"]["is_update_payment_method"] for value in desk.values()] == [True]


def test_profiles_come_last(desk: Desk, shop: Shop) -> None:
    """With --emit identify each customer's profile is asked for once, behind everything else of that customer."""
    summary = desk.summary("--from", ALWAYS, "--emit", "identify", "--revive")
    last: dict[str, dict[str, Any]] = {}
    asked: Counter[str] = Counter()
    for value in desk.values():
        assert value["revive"]
        assert last.get(value["customer_id"], {"emit_identify": False})["emit_identify"] is False
        last[value["customer_id"]] = value
        asked[value["customer_id"]] += value["emit_identify"]
    assert set(asked.values()) == {1}
    assert len(asked) == summary["customers"] == summary["identified"]
    assert all(v["object"] == "customer" and v["data"] == {"customer_id": k} for k, v in last.items())
    assert shop.ledger.payments


def test_dry_run_changes_nothing(desk: Desk, shop: Shop) -> None:
    """A dry run counts what a real one then sends, and leaves neither records nor files."""
    told = desk.summary("--from", ALWAYS, "--emit", "identify", "--dry-run")
    assert desk.commands() == []
    assert desk.state_files() == []
    done = desk.summary("--from", ALWAYS, "--emit", "identify")
    assert told["objects"] == done["objects"]
    assert told["customers"] == done["customers"] > 10
    assert (told["dry_run"], done["dry_run"]) == (True, False)
    assert "would be sent" in desk.run(
        "backfill", "--from", ALWAYS, "--what", "refunds", "--dry-run", "--rate", "100000"
    )
    assert shop.ledger.payments


def test_range(desk: Desk) -> None:
    """Only what was created in the range is sent; the day of --to is part of it."""
    for day in range(1, 8):
        desk.account.objects["payments"][f"pay_{day}"] = {
            "payment_id": f"pay_{day}",
            "created_at": f"2026-01-0{day}T23:59:59.999999Z",
            "status": "succeeded",
            "customer": {"customer_id": "cus_1"},
        }
    desk.summary("--from", "2026-01-03", "--to", "2026-01-05")
    assert sorted(value["data"]["payment_id"] for value in desk.values()) == ["pay_3", "pay_4", "pay_5"]


def test_failure_and_second_run(desk: Desk) -> None:
    """A run that fails half-way keeps what it did; the same command sends the rest, at most one page twice."""
    payments(desk, 450)
    desk.account.faults.append(
        lambda request: error(401, "REVOKED") if request.query_params.get("page_number") == "3" else None
    )
    first = desk.fails("backfill", "--from", "2026-01-01", "--yes", "--rate", "100000")
    assert isinstance(first, CredentialError)
    sent = len(desk.commands())
    assert 0 < sent < 450
    assert len(desk.state_files()) == 1
    desk.account.faults.clear()
    summary = desk.summary("--from", "2026-01-01")
    assert summary["resumed"]
    assert summary["objects"]["payments"] == 450
    found = Counter(value["data"]["payment_id"] for value in desk.values())
    assert set(found) == set(desk.account.objects["payments"])
    assert found.total() - 450 <= 100
    assert desk.state_files() == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_interrupted_run(desk: Desk, number: signal.Signals) -> None:
    """SIGTERM and even SIGKILL in the middle of a run lose nothing: the next one goes on."""
    payments(desk, 700)
    reached = False

    async def hold(request: Any) -> Any:
        nonlocal reached
        if request.query_params.get("page_number") == "3":
            reached = True
            while not await request.is_disconnected():  # noqa: ASYNC110 - the server has no event for it
                await asyncio.sleep(0.02)

    desk.account.faults.append(hold)
    command = [sys.executable, "-m", "pipeline", "backfill", "--from", "2026-01-01", "--yes", "--rate", "100000"]
    with forked.Popen(command, env=desk.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        deadline = time.monotonic() + 300
        while not reached:
            assert run.poll() is None, run.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        run.send_signal(number)
        out, err = run.communicate(timeout=300)
    assert "Traceback" not in err
    if number is signal.SIGKILL:
        assert run.returncode == -signal.SIGKILL
    else:
        assert run.returncode == 130, err
        assert "goes on from here" in out
    desk.account.faults.clear()
    assert desk.summary("--from", "2026-01-01")["resumed"]
    found = Counter(value["data"]["payment_id"] for value in desk.values())
    assert set(found) == set(desk.account.objects["payments"])
    assert found.total() - 700 <= 100


def test_begin_afresh(desk: Desk) -> None:
    """--no-resume forgets the earlier run, --state-file puts it elsewhere and refuses another purpose."""
    payments(desk, 150)
    state = str(desk.settings.data_dir / "mine.sqlite")

    async def deny(_: Any) -> Any:
        return error(403, "FORBIDDEN")

    desk.account.faults.append(deny)
    mine = ("--from", "2026-01-01", "--what", "payments,subscriptions", "--state-file", state)
    assert isinstance(desk.fails("backfill", *mine, "--yes"), CredentialError)
    assert Path(state).exists()
    refused = desk.fails("backfill", "--from", "2026-02-02", "--state-file", state, "--yes")
    assert "another backfill" in str(refused)
    assert refused.exit_code == 2
    summary = desk.summary(*mine, "--no-resume")
    assert (summary["resumed"], summary["objects"]["payments"]) == (False, 150)
    assert not Path(state).exists()


def test_what_cannot_be_brought_over(desk: Desk) -> None:
    """Objects without an owner or with an impossible one are named, the others go, and the exit code is 1."""
    payments(desk, 3)
    objects = desk.account.objects
    objects["payments"]["pay_1"]["customer"] = {"customer_id": "c" * 300}
    objects["refunds"]["ref_1"] = {
        "refund_id": "ref_1",
        "payment_id": "pay_gone",
        "created_at": objects["payments"]["pay_0"]["created_at"],
        "status": "succeeded",
    }
    objects["payments"]["pay_2"]["metadata"] = {"a": "x" * 1_200_000}
    summary = desk.summary("--from", ALWAYS, exit_code=1)
    assert [value["data"]["payment_id"] for value in desk.values()] == ["pay_0"]
    assert summary["complete"]
    assert summary["objects"] == {"payments": 1, "refunds": 0, "subscriptions": 0}
    reasons = {item["id"]: item["reason"] for item in summary["left_out_objects"]}
    assert reasons.keys() == {"pay_1", "pay_2", "ref_1"}
    assert "1 to 255 bytes" in reasons["pay_1"]
    assert reasons["ref_1"] == "nothing tells whose it is"
    assert "left out: refunds ref_1" in desk.run("backfill", "--from", ALWAYS, "--yes", "--rate", "100000", exit_code=1)


@pytest.mark.parametrize(
    ("arguments", "environ", "kind", "words"),
    [
        (("--from", "yesterday"), {}, InputError, "--from 'yesterday' is no date"),
        (("--from", "2999-01-01"), {}, InputError, "is to come"),
        (("--from", "2026-01-02", "--to", "2026-01-01"), {}, InputError, "nothing can lie between"),
        (("--from", ALWAYS, "--what", "payouts"), {}, InputError, "payments, refunds"),
        (("--from", ALWAYS, "--what", ","), {}, InputError, "payments, refunds"),
        (("--from", ALWAYS), {"PIPELINE_DODO_API_KEY": ""}, SettingsError, "PIPELINE_DODO_API_KEY is not set"),
        (("--from", ALWAYS), {"PIPELINE_WEBHOOKS_TOPIC": "not.there"}, TopicError, "not.there does not exist"),
        (
            ("--from", ALWAYS),
            {"PIPELINE_DODO_API_URL": "https://test.dodopayments.com"},
            SettingsError,
            "test-mode data",
        ),
        (("--from", ALWAYS), {"PIPELINE_STATE": "false"}, SettingsError, "PIPELINE_STATE=false"),
        (("--from", ALWAYS), {"PIPELINE_COMMANDS": "false"}, SettingsError, "PIPELINE_COMMANDS=false"),
        (("--from", ALWAYS), {"PIPELINE_DODO_API_KEY": "wrong"}, CredentialError, "refused PIPELINE_DODO_API_KEY"),
    ],
)
def test_faults_are_told_at_once(
    desk: Desk, arguments: tuple[str, ...], environ: dict[str, str], kind: type[PipelineError], words: str
) -> None:
    """What the caller must change is one message with exit code 2, and nothing is sent."""
    failure = desk.fails("backfill", *arguments, "--yes", **environ)
    assert isinstance(failure, kind)
    assert words in str(failure)
    assert failure.exit_code == 2
    assert desk.commands() == []


def test_nobody_to_ask(desk: Desk) -> None:
    """Without a terminal and without --yes neither command does anything."""
    payments(desk, 1)
    for command in (("backfill", "--from", ALWAYS), ("forget", "cus_1")):
        failure = desk.fails(*command)
        assert isinstance(failure, InputError)
        assert "--yes" in str(failure)
    assert desk.commands() == []
    assert desk.account.requests == []


@pytest.mark.parametrize(("answer", "sent"), [("y", 1), ("n", 0)])
def test_question(desk: Desk, answer: str, sent: int) -> None:
    """On a terminal both commands ask, with what they are about to do, and do nothing without a yes."""
    payments(desk, 1)
    for arguments, question in (
        (("backfill", "--from", "2026-01-01", "--what", "payments"), "Read payments created from 2026-01-01 00:00 to"),
        (("forget", "cus_1", "--customerio", "delete"), "Forget cus_1 for good, and do this there: delete the person"),
    ):
        before = len(desk.commands())
        ours, theirs = pty.openpty()
        try:
            command = [sys.executable, "-m", "pipeline", *arguments]
            pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
            with forked.Popen(command, env=desk.environ, stdin=theirs, **pipes) as run:
                os.write(ours, f"{answer}\n".encode())
                out, err = run.communicate(timeout=300)
        finally:
            os.close(ours)
            os.close(theirs)
        assert question in err
        assert run.returncode == (0 if sent else 1), err
        assert ("Nothing was sent." in out) is not bool(sent)
        assert len(desk.commands()) - before == sent
    assert desk.state_files() == []


def test_api_that_stays_away(desk: Desk) -> None:
    """When Dodo's API cannot be reached the command says so without a traceback."""
    environ = desk.environ | {"PIPELINE_DODO_API_URL": "http://127.0.0.1:1"}
    command = [sys.executable, "-m", "pipeline", "backfill", "--from", ALWAYS, "--yes"]
    with forked.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        deadline = time.monotonic() + 300
        while not desk.state_files():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        run.send_signal(signal.SIGINT)
        _, err = run.communicate(timeout=300)
    assert run.returncode in {1, 130}
    assert "Traceback" not in err


def test_forget(desk: Desk) -> None:
    """The command lies in the customer's partition, under the customer's key, and is printed with its place."""
    text = desk.run("forget", "cus_1", "--customerio", "suppress", "--yes", "--json")
    (record,) = desk.commands()
    assert orjson.loads(text) == {
        "customer_id": "cus_1",
        "customerio": "suppress",
        "topic": desk.settings.webhooks_topic,
        "sent": True,
        "partition": record.partition,
        "offset": record.offset,
        "dead_letters": {"count": 0, "places": [], "removed": 0, "unknown": None},
    }
    assert (record.key, record.partition) == (b"cus_1", partition_of(b"cus_1", PARTITIONS))
    assert text_header(record.headers, "dodo-command") == "forget"
    value = orjson.loads(record.value)
    assert (value["customer_id"], value["customerio"]) == ("cus_1", "suppress")


def test_forget_without_customerio(desk: Desk) -> None:
    """By default nothing is asked for at Customer.io; a dry run sends nothing at all."""
    assert "Would forget cus_1" in desk.run("forget", "cus_1", "--dry-run")
    assert json.loads(desk.run("forget", "cus_1", "--dry-run", "--json"))["sent"] is False
    assert desk.commands() == []
    assert "carries it out" in desk.run("forget", "cus_1", "--yes")
    assert [value["customerio"] for value in desk.values()] == [None]


@pytest.mark.parametrize("customer", ["jane@example.com", " ", "c" * 256])
def test_forget_whom(desk: Desk, customer: str) -> None:
    """What is no customer's id is refused; an address may belong to several customers."""
    failure = desk.fails("forget", customer, "--yes")
    assert isinstance(failure, InputError)
    assert desk.commands() == []
