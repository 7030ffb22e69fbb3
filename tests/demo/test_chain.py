"""The whole chain as real processes on a real Apache Kafka."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pipeline.demo.chain import Chain
from pipeline.demo.expect import expect
from pipeline.demo.run import SEED, run
from pipeline.demo.stage import exports
from pipeline.dodo.simulator import Shop
from tests.kafka.shared import SharedKafka

pytestmark = pytest.mark.kafka

ADDRESS = re.compile(r"[\w.+-]+@[\w-]+\.[\w.]+")
BODY_FRAGMENTS = ('"payload_type"', '"business_id"', '"customer":', '"identifiers"', '"attributes"', '"billing"')


class Quiet:
    """Progress that nobody watches."""

    def sent(self, count: int) -> None:
        """Nothing to show."""

    def delivered(self, count: int) -> None:
        """Nothing to show."""


async def test_chain_reconciles_and_keeps_its_logs_clean(
    kafka: SharedKafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every number reconciles, and no log line of any process holds an address, a name, a secret or a body."""
    monkeypatch.setenv("PIPELINE_KAFKA_BOOTSTRAP_SERVERS", kafka.bootstrap_servers)
    async with Chain(tmp_path, partitions=3, say=lambda _: None) as chain:
        report = await run(chain, 1_500, lambda _: Quiet())
        assert {check.name: (check.expected, check.seen) for check in report.checks if not check.ok} == {}
        assert report.journey
        await _look_at(chain.exports)
        api_key = chain.settings.customerio_api_key
        assert api_key is not None
        private = {chain.secret, chain.secret.removeprefix("whsec_"), api_key.get_secret_value()}
    names = _names_in(1_500)
    logs = {path.name: path.read_text(encoding="utf-8") for path in chain.logs.iterdir()}
    assert set(logs) == {"sandbox.log", "ingest.log", "transform.log", "sink.log"}
    assert all(logs[name] for name in ("ingest.log", "transform.log", "sink.log"))
    for name, text in logs.items():
        assert not ADDRESS.findall(text), name
        assert not [value for value in private | names if value in text], name
        assert not [fragment for fragment in BODY_FRAGMENTS if fragment in text.replace('\\"', '"')], name


async def _look_at(variables: Mapping[str, str]) -> None:
    """Commands in a shell that has run the lines which `demo --keep` prints see this chain."""
    lines = "\n".join(exports(variables))
    command = f'{lines}\ndodo-cio() {{ {shlex.quote(sys.executable)} -m pipeline "$@"; }}\n'
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PIPELINE_")}

    async def said(words: str) -> Any:
        done = await asyncio.create_subprocess_exec(
            "/bin/bash", "-c", f"{command}dodo-cio {words}", env=environ, stdout=asyncio.subprocess.PIPE
        )
        out, _ = await done.communicate()
        assert done.returncode == 0, words
        return out

    (webhooks, _operations) = json.loads(await said("lag --json"))["groups"]
    assert (webhooks["records"], webhooks["topic"]) == (0, variables["PIPELINE_WEBHOOKS_TOPIC"])
    letters = (await said("dlq list --json")).splitlines()
    assert letters
    sent = json.loads(await said("send-test --json"))
    assert sent["accepted"] == 1
    assert sent["expected"]["verdict"] == "operations"


def _names_in(webhooks: int) -> set[str]:
    """Customer names of the simulated shop, as they stand in the bodies."""
    from datetime import UTC, datetime

    names = set()
    for delivery in Shop(SEED, datetime.now(UTC)).deliveries(webhooks):
        try:
            customer = json.loads(delivery.body)["data"].get("customer") or {}
        except (ValueError, TypeError, KeyError):
            continue
        names |= {name for name in [customer.get("name")] if isinstance(name, str) and len(name) > 3}
    assert len(names) > 10
    return names


def _processes_of(directory: Path) -> list[str]:
    """Command lines of processes that were started with this temporary directory."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            environment = (process / "environ").read_bytes() if process.name.isdigit() else b""
            if str(directory).encode() in environment and int(process.name) != os.getpid():
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return [line for line in found if line.strip()]


@pytest.mark.skipif(not Path("/proc").exists(), reason="reads /proc to see what is left behind")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_demo_leaves_nothing_behind(tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C or SIGTERM while the stages start stops all of them, the broker too, and removes the files."""
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-m", "pipeline", "demo", "--webhooks", "50000"],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as demo:
        assert demo.stderr is not None
        for line in demo.stderr:
            if "Starting sandbox" in line:
                break
        demo.send_signal(number)
        said = demo.stderr.read()
        assert demo.wait(300) == 130, said
    assert "Traceback" not in said
    deadline = time.monotonic() + 300  # watchdogs end a moment after what they watch
    while (left := _processes_of(tmp_path)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left == []
    assert not list(tmp_path.glob("dodo-cio-demo-*"))


def test_expectation_counts_every_delivery_once() -> None:
    """Sent is the sum of what is forged, unreadable, dropped, dead-lettered and mapped."""
    from datetime import UTC, datetime

    from pipeline.transform.policy import Policy

    shop = Shop(SEED, datetime.now(UTC))
    deliveries = list(shop.deliveries(2_000))
    expected = expect(shop, deliveries, Policy(), state=True)
    alone = expect(shop, deliveries, Policy(), state=False)
    for one in (expected, alone):
        assert one.sent == 2_000
        assert one.forged > 0
        assert one.unreadable > 0
        assert one.operations > one.event_ids.total()
    assert alone.event_ids.total() > len(alone.event_ids) > 0
    assert expected.event_ids.total() == len(expected.event_ids) > 0, "what was told is not told again"
    assert expected.held_back["suppressed-event"] > 0
    assert set(expected.spent) <= set(shop.ledger.sequences)
