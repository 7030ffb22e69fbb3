"""The whole chain on each version of Apache Kafka that somebody still runs: three brokers, two of each stage.

Long, and needs Maven: `make platforms`, or `make platforms PLATFORMS='3.5.2'` for some. Kafka runs without ZooKeeper
everywhere (KRaft), since clients never see the difference.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pipeline.dodo import samples
from pipeline.dodo.samples.fresh import fresh
from pipeline.dodo.signature import sign
from pipeline.dodo.simulator import Delivery, Shop
from pipeline.kafka.local.distribution import DEFAULT_VERSION
from pipeline.settings import Settings
from pipeline.transform.policy import Policy
from tests.asking import local_client
from tests.chaos.client import Client
from tests.chaos.replicas import Replicas, SandboxView, replicas_on
from tests.chaos.seen import caught_up, look
from tests.chaos.truth import faults, work_out
from tests.kafka.three_brokers import Cluster

VERSIONS = ("3.0.2", "3.5.2", "3.9.1", "4.0.2", "4.2.1", DEFAULT_VERSION)
ASKED = os.environ.get("PLATFORMS", "").split()

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.platforms,
    pytest.mark.skipif(not ASKED, reason="long form: make platforms"),
]

WEBHOOKS = 1_500
PARTITIONS = 4
SEED = 20


@dataclass
class Chain:
    """Two of each stage on a cluster, a shop's webhooks, and how to look at them."""

    settings: Settings
    environment: dict[str, str]
    replicas: Replicas
    view: SandboxView
    shop: Shop
    deliveries: list[Delivery]
    client: Client

    async def command(self, *arguments: str) -> str:
        """What a command prints; it succeeds."""
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "pipeline", *arguments, env=self.environment,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await child.communicate()
        assert child.returncode == 0, f"{arguments}: {out.decode()}{err.decode()}"
        return out.decode()

    async def faults(self, *steps: dict[str, Any]) -> None:
        """Customer.io's script from now on."""
        async with local_client(self.replicas.sandbox.url) as http:
            (await http.delete("/__sandbox/faults")).raise_for_status()
            if steps:
                (await http.post("/__sandbox/faults", json=list(steps))).raise_for_status()


@asynccontextmanager
async def running(
    cluster: Cluster,
    chain_settings: Callable[..., Awaitable[Settings]],
    environment: Callable[[Settings], dict[str, str]],
    directory: Path,
) -> AsyncIterator[Chain]:
    """Everything runs, and nothing is posted yet; a failure shows the logs."""
    settings, replicas = await replicas_on(cluster, chain_settings, environment, directory, PARTITIONS)
    secret = settings.dodo_webhook_secrets[0].get_secret_value()
    shop = Shop(SEED, datetime.now(UTC))
    async with replicas, SandboxView(replicas.sandbox.url) as view:
        urls = [f"{one.url}/webhooks/dodo" for one in replicas.of("ingest")]
        deliveries = list(shop.deliveries(WEBHOOKS))
        client = Client(urls, secret, deliveries, SEED)
        try:
            async with client:
                yield Chain(settings, environment(settings), replicas, view, shop, deliveries, client)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{replicas.said}") from error


@pytest.mark.parametrize("version", VERSIONS if ASKED in ([], ["all"]) else ASKED)
async def test_the_chain_on(
    version: str,
    chain_settings: Callable[..., Awaitable[Settings]],
    environment: Callable[[Settings], dict[str, str]],
    tmp_path: Path,
) -> None:
    """What was sent was accepted, once and in order, with the shop's totals, through a rolling restart and SIGKILLs.

    Then nothing waits by `dodo-cio lag`, and a dead letter that is put back by `dodo-cio dlq replay` arrives.
    """
    began = time.monotonic()
    with await asyncio.to_thread(lambda: Cluster.start(tmp_path / "cluster", version=version)) as cluster:
        async with running(cluster, chain_settings, environment, tmp_path) as chain:
            ready_s = time.monotonic() - began
            handed_s = await _through_a_rolling_restart_and_kills(chain)
            await caught_up(chain.settings, PARTITIONS)
            seen, stats = await look(chain.settings, chain.view), await chain.view.stats()
            truth = work_out(chain.client.posted, Policy.of(chain.settings), now_ms=int(time.time() * 1000))
            found = faults(chain.shop, chain.deliveries, truth, seen)
            assert not found, "\n".join(found)
            assert not chain.replicas.ended, "\n".join(map(str, chain.replicas.ended))
            await _lag_is_none(chain)
            await _a_letter_is_put_back(chain)
            codes = await chain.replicas.stop()
            assert set(codes.values()) == {0}, codes
    took_s = time.monotonic() - began
    print(  # noqa: T201 - the run's result
        f"\nApache Kafka {version}: {len(seen.events)} events of {len(truth.events)}, {stats['duplicates']} repeats "
        f"absorbed, ready after {ready_s:.0f} s, a stage rolled in {handed_s:.1f} s, {took_s:.0f} s in all"
    )


async def _through_a_rolling_restart_and_kills(chain: Chain) -> float:
    """Seconds of the longest SIGTERM, while webhooks come."""
    client, replicas = chain.client, chain.replicas
    client.release(WEBHOOKS // 2)
    await client.reaches(WEBHOOKS // 6)
    longest_s = 0.0
    for stage in ("transform", "sink", "ingest"):
        began = time.monotonic()
        assert await replicas.restart(replicas.of(stage)[0]) == 0
        longest_s = max(longest_s, time.monotonic() - began)
        await replicas.ready(replicas.of(stage)[0])
    client.release(WEBHOOKS)
    await client.reaches(2 * WEBHOOKS // 3)
    for stage in ("transform", "sink"):
        replicas.kill(replicas.of(stage)[1], disk=stage == "transform")
    await client.reaches(WEBHOOKS)
    return longest_s


async def _lag_is_none(chain: Chain) -> None:
    groups = json.loads(await chain.command("lag", "--json"))["groups"]
    assert [(one["records"], one["seconds"]) for one in groups] == [(0, 0), (0, 0)]


async def _a_letter_is_put_back(chain: Chain) -> None:
    """What Customer.io refused, and takes once its fault is mended."""
    await chain.faults({"match": {"name": "payment_completed"}, "refuse_items": "matched", "times": "always"})
    body = fresh(samples.load("payment.succeeded"), datetime.now(UTC), "platform")
    async with local_client(chain.replicas.of("ingest")[0].url) as http:
        secret = chain.settings.dodo_webhook_secrets[0].get_secret_value()
        headers = sign(secret, "msg_platform", int(time.time()), body)
        assert (await http.post("/webhooks/dodo", content=body, headers=headers)).status_code == 200
    await caught_up(chain.settings, PARTITIONS)
    listed = await chain.command("dlq", "list", "--class", "refused", "--json")
    letters = [json.loads(line) for line in listed.splitlines()]
    assert [one["webhook_id"] for one in letters] == ["msg_platform"]
    await chain.faults()
    before = (await chain.view.stats())["accepted"]
    await chain.command("dlq", "replay", "--class", "refused", "--yes")
    await caught_up(chain.settings, PARTITIONS)
    assert (await chain.view.stats())["accepted"] == before + 1
