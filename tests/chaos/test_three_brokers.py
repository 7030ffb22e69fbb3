"""The whole chain on three brokers while leaders and workers die.

Every webhook arrives once, in order, and is worth what the shop says.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import random
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipeline.dodo.simulator import Shop
from pipeline.kafka.local_ports import free_port
from pipeline.settings import Settings
from pipeline.transform.policy import Policy
from tests.chaos.client import Client
from tests.chaos.replicas import STAGES, Replicas, SandboxView
from tests.chaos.seen import caught_up, look
from tests.chaos.truth import faults, work_out
from tests.kafka.cluster import Cluster

pytestmark = [pytest.mark.kafka, pytest.mark.chaos]

LONG = bool(os.environ.get("CHAOS_SECONDS"))
WEBHOOKS, ROUNDS = (30_000, 20) if LONG else (2_000, 2)
PARTITIONS = 6
FLOW_WITHIN_S = 60.0
"""How long a stage that is to die in the middle of its work may take to have some: about two session time-outs."""


@dataclass
class Deaths:
    """One leader and one worker a round, in the middle of the traffic; `ways` are those of the leaders."""

    cluster: Cluster
    replicas: Replicas
    client: Client
    view: SandboxView
    dice: random.Random
    ways: Sequence[str]
    leaders: list[str] = field(default_factory=list)
    workers: list[str] = field(default_factory=list)

    async def round(self, settings: Settings, webhooks: int) -> None:
        """A leader goes while `webhooks` more arrive; a worker dies before that, meanwhile, or after its return."""
        when = self.dice.choice(["before", "away", "away", "after"])
        half, began = webhooks // 2, self.client.answered
        await self.client.release(half)
        if when == "before":
            await self._kill_worker()
        await self.client.reaches(began + int(half * self.dice.uniform(0.1, 0.9)))
        what, node = await self._victim(settings)
        way = self.dice.choice(self.ways)
        await asyncio.to_thread(getattr(self.cluster, way), node)
        self.leaders.append(f"{way} {what}: node {node}")
        await self.client.release(webhooks - half)
        if when == "away":
            await self._kill_worker()
        await self.client.reaches(began + half + int((webhooks - half) * self.dice.uniform(0.1, 0.9)))
        await asyncio.to_thread(self.cluster.thaw if way == "freeze" else self.cluster.restart, node)
        if when == "after":
            await self._kill_worker()
        await self.cluster.wait_until_in_sync()
        await self.client.reaches(began + webhooks)

    async def _victim(self, settings: Settings) -> tuple[str, int]:
        what = self.dice.choice(["webhooks", "operations", "customers", "transform", "sink", "controller"])
        match what:
            case "webhooks" | "operations" | "customers":
                topic = getattr(settings, f"{what}_topic")
                return f"leader of {what}", await self.cluster.leader(topic, self.dice.randrange(PARTITIONS))
            case "transform" | "sink":
                return f"coordinator of {what}", await self.cluster.coordinator(getattr(settings, f"{what}_group"))
            case _:
                return what, await self.cluster.new_controller(after=0)

    async def _kill_worker(self) -> None:
        worker = self.dice.choice(self.replicas.of(self.dice.choice(STAGES)))
        working = worker.stage == "ingest" or (self.dice.random() < 0.7 and await self._flows())
        disk = self.dice.random() < 0.5
        self.replicas.kill(worker, disk=disk)
        self.workers.append(worker.name + (", disk lost" if disk else "") + ("" if working else ", idle"))

    async def _flows(self) -> bool:
        """Whether operations arrive at Customer.io: workers are in the middle of their work."""
        accepted = (await self.view.stats())["accepted"]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FLOW_WITHIN_S):
                while (await self.view.stats())["accepted"] == accepted:  # noqa: ASYNC110 - the sandbox tells nobody
                    await asyncio.sleep(0.1)
                return True
        return False


@pytest.mark.parametrize("ways", [["kill"], ["freeze", "terminate"]] if LONG else [["kill"]], ids="-".join)
@pytest.mark.timeout(3600 if LONG else 600)
async def test_leaders_and_workers_die_and_everything_arrives_once_in_order(
    *,
    ways: list[str],
    kafka_cluster: Cluster,
    chain_settings: Callable[..., Awaitable[Settings]],
    environment: Callable[[Settings], dict[str, str]],
    tmp_path: Path,
    seed: int,
) -> None:
    """Leaders, coordinators and controllers die (or freeze, or are rolled), and workers too: the user cannot tell.

    Customer.io has each event once and each person's in order, profiles and totals are those of the shop, the dead
    letters are the unreadable bodies alone, nothing waits, and no process ended that was not killed.
    """
    began = time.monotonic()
    secret = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
    port = free_port()
    settings = await chain_settings(
        partitions=PARTITIONS,
        kafka_bootstrap_servers=kafka_cluster.bootstrap_servers,
        dodo_webhook_secrets=secret,
        customerio_site_id="site",
        customerio_api_key=secrets.token_hex(16),
        customerio_url=f"http://127.0.0.1:{port}",
        log_format="json",
    )
    await kafka_cluster.wait_until_in_sync(settings.webhooks_topic, settings.operations_topic)
    api_key = settings.customerio_api_key
    assert api_key is not None
    shop = Shop(seed, datetime.now(UTC))
    deliveries = list(shop.deliveries(WEBHOOKS))
    replicas = Replicas(
        environment(settings), tmp_path, site_id="site", api_key=api_key.get_secret_value(), sandbox_port=port
    )
    async with replicas, SandboxView(replicas.sandbox.url) as view:
        client = Client([f"{one.url}/webhooks/dodo" for one in replicas.of("ingest")], secret, deliveries, seed)
        deaths = Deaths(kafka_cluster, replicas, client, view, random.Random(seed), ways)
        posting = asyncio.create_task(client.run())
        try:
            share = WEBHOOKS // (ROUNDS + 1)
            for _ in range(ROUNDS):
                await deaths.round(settings, share)
            await client.release(WEBHOOKS)
            await client.reaches(WEBHOOKS)
            await posting
            await caught_up(settings, PARTITIONS)
        except AssertionError as error:
            raise AssertionError(f"{error}\nCHAOS_SEED={seed}\n{replicas.said}") from error
        finally:
            posting.cancel()
        seen, stats = await look(settings, view), await view.stats()
        codes = await replicas.stop()
    truth = work_out(client.posted, Policy.of(settings), now_ms=int(time.time() * 1000))
    found = faults(shop, deliveries, truth, seen)
    summary = (
        f"{WEBHOOKS} webhooks, {len(seen.stored)} stored, {len(seen.events)} events of {len(truth.events)}, "
        f"{stats['duplicates']} repeats absorbed, answers {dict(client.answers)}, {time.monotonic() - began:.0f} s, "
        f"{len(deaths.leaders)} leaders and {len(deaths.workers)} workers gone, {len(replicas.ended)} ended:\n  "
        + "\n  ".join(f"{a} | {b}" for a, b in zip(deaths.leaders, deaths.workers, strict=True))
    )
    print(summary)  # noqa: T201 - the run's result
    assert not found, "\n".join([f"CHAOS_SEED={seed}", summary, *found])
    assert not replicas.ended, "\n".join(replicas.ended)
    assert set(codes.values()) == {0}, codes
