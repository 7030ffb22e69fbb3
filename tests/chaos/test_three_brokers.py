"""The whole chain on three brokers while leaders and workers die.

Every webhook arrives once, in order, and is worth what the shop says.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipeline.dodo.simulator import Shop
from pipeline.settings import Settings
from pipeline.transform.policy import Policy
from tests.chaos.client import Client
from tests.chaos.replicas import STAGES, Replicas, SandboxView, replicas_on
from tests.chaos.seen import caught_up, look
from tests.chaos.truth import faults, work_out
from tests.kafka.three_brokers import Cluster

pytestmark = [pytest.mark.kafka, pytest.mark.chaos]

LONG = bool(os.environ.get("CHAOS_SECONDS"))
WEBHOOKS, ROUNDS = 30_000, 20
PARTITIONS = 6
FLOW_WITHIN_S = 60.0
"""How long a stage that is to die in the middle of its work may take to have some: about two session time-outs."""


class Chain:
    """Two of each stage on the cluster, a shop's webhooks on their way into them, and the judgement at the end."""

    def __init__(
        self, cluster: Cluster, settings: Settings, replicas: Replicas, view: SandboxView, *, webhooks: int, seed: int
    ) -> None:
        self.cluster = cluster
        self.settings = settings
        self.replicas = replicas
        self.view = view
        self.seed = seed
        self.shop = Shop(seed, datetime.now(UTC))
        self.deliveries = list(self.shop.deliveries(webhooks))
        urls = [f"{one.url}/webhooks/dodo" for one in replicas.of("ingest")]
        secret = settings.dodo_webhook_secrets[0].get_secret_value()
        self.client = Client(urls, secret, self.deliveries, seed)

    async def judge(self, done: Sequence[str]) -> None:
        """Post what is left, wait until nothing waits any more, and compare; `done` is what happened meanwhile."""
        self.client.release(len(self.deliveries))
        await self.client.reaches(len(self.deliveries))
        await caught_up(self.settings, PARTITIONS)
        seen, stats = await look(self.settings, self.view), await self.view.stats()
        codes = await self.replicas.stop()
        truth = work_out(self.client.posted, Policy.of(self.settings), now_ms=int(time.time() * 1000))
        found = faults(self.shop, self.deliveries, truth, seen)
        summary = (
            f"{len(self.deliveries)} webhooks, {len(seen.stored)} records, {len(seen.events)} events of "
            f"{len(truth.events)}, {stats['duplicates']} repeats absorbed, answers {dict(self.client.answers)}, "
            f"{len(self.replicas.ended)} processes ended by themselves"
        )
        print("\n  ".join([summary, *done]))  # noqa: T201 - the run's result
        assert not found, "\n".join([summary, *done, *found])
        assert not self.replicas.ended, "\n".join(map(str, self.replicas.ended))
        assert set(codes.values()) == {0}, codes


@dataclass
class Deaths:
    """One leader and one worker a round, in the middle of the traffic; `ways` are those of the leaders."""

    chain: Chain
    dice: random.Random
    ways: Sequence[str]
    leaders: list[str] = field(default_factory=list)
    workers: list[str] = field(default_factory=list)

    async def round(self, webhooks: int) -> None:
        """A leader goes while `webhooks` more arrive; a worker dies before that, meanwhile, or after its return."""
        client, cluster = self.chain.client, self.chain.cluster
        when = self.dice.choice(["before", "away", "away", "after"])
        half, began = webhooks // 2, client.answered
        client.release(half)
        if when == "before":
            await self._kill_worker()
        await client.reaches(began + int(half * self.dice.uniform(0.1, 0.9)))
        what, node = await self._victim()
        way = self.dice.choice(self.ways)
        await asyncio.to_thread(getattr(cluster, way), node)
        self.leaders.append(f"{way} {what}: node {node}")
        client.release(webhooks - half)
        if when == "away":
            await self._kill_worker()
        await client.reaches(began + half + int((webhooks - half) * self.dice.uniform(0.1, 0.9)))
        await asyncio.to_thread(cluster.thaw if way == "freeze" else cluster.restart, node)
        if when == "after":
            await self._kill_worker()
        await cluster.wait_until_in_sync()
        await client.reaches(began + webhooks)

    async def _victim(self) -> tuple[str, int]:
        cluster, settings = self.chain.cluster, self.chain.settings
        what = self.dice.choice(["webhooks", "operations", "customers", "transform", "sink", "controller"])
        match what:
            case "webhooks" | "operations" | "customers":
                topic, partition = getattr(settings, f"{what}_topic"), self.dice.randrange(PARTITIONS)
                return f"leader of {what}", await cluster.leader(topic, partition)
            case "transform" | "sink":
                return f"coordinator of {what}", await cluster.coordinator(getattr(settings, f"{what}_group"))
            case _:
                return what, await cluster.new_controller()

    async def _kill_worker(self) -> None:
        worker = self.dice.choice(self.chain.replicas.of(self.dice.choice(STAGES)))
        working = worker.stage == "ingest" or (self.dice.random() < 0.7 and await self._flows())
        disk = self.dice.random() < 0.5
        self.chain.replicas.kill(worker, disk=disk)
        self.workers.append(worker.name + (", disk lost" if disk else "") + ("" if working else ", idle"))

    async def _flows(self) -> bool:
        """Whether operations arrive at Customer.io: workers are in the middle of their work."""
        view = self.chain.view
        accepted = (await view.stats())["accepted"]
        with suppress(TimeoutError):
            async with asyncio.timeout(FLOW_WITHIN_S):
                while (await view.stats())["accepted"] == accepted:  # noqa: ASYNC110 - the sandbox tells nobody
                    await asyncio.sleep(0.1)
                return True
        return False


MakeChain = Callable[[int], AbstractAsyncContextManager[Chain]]


@pytest.fixture
def make_chain(
    *,
    kafka_cluster: Cluster,
    chain_settings: Callable[..., Awaitable[Settings]],
    environment: Callable[[Settings], dict[str, str]],
    tmp_path: Path,
    seed: int,
) -> MakeChain:
    """Builder of chains for so many webhooks, ready and with nothing posted yet; a failure shows the logs."""

    @asynccontextmanager
    async def make(webhooks: int) -> AsyncIterator[Chain]:
        settings, replicas = await replicas_on(kafka_cluster, chain_settings, environment, tmp_path, PARTITIONS)
        async with replicas, SandboxView(replicas.sandbox.url) as view:
            chain = Chain(kafka_cluster, settings, replicas, view, webhooks=webhooks, seed=seed)
            try:
                async with chain.client:
                    yield chain
            except AssertionError as error:
                raise AssertionError(f"{error}\nCHAOS_SEED={seed}\n{replicas.said}") from error

    return make


@pytest.mark.skipif(not LONG, reason="long form: make chaos; the short one is season/test_seasons.py")
@pytest.mark.parametrize("ways", [["kill"], ["freeze", "terminate"]], ids="-".join)
@pytest.mark.timeout(3600)
async def test_leaders_and_workers_die_and_everything_arrives_once_in_order(
    ways: list[str], make_chain: MakeChain
) -> None:
    """Leaders, coordinators and controllers die (or freeze, or are rolled), and workers too: the user cannot tell.

    Customer.io has each event once and each person's in order, profiles and totals are those of the shop, the dead
    letters are the unreadable bodies alone, nothing waits, and no process ended that was not killed.
    """
    async with make_chain(WEBHOOKS) as chain:
        deaths = Deaths(chain, random.Random(chain.seed), ways)
        for _ in range(ROUNDS):
            await deaths.round(WEBHOOKS // (ROUNDS + 1))
        await chain.judge([f"{a} | {b}" for a, b in zip(deaths.leaders, deaths.workers, strict=True)])


@pytest.mark.skipif(not LONG, reason="long form: make chaos")
@pytest.mark.parametrize("away_s", [5.0, 40.0])
@pytest.mark.timeout(3600)
async def test_a_lost_majority_is_waited_for(away_s: float, make_chain: MakeChain) -> None:
    """Two of three brokers die: webhooks are refused until one is back, and no process ends or forgets anything.

    The one that is left has no second replica to confirm with, and no leader of the controllers.
    """
    webhooks = 3_000
    async with make_chain(webhooks) as chain:
        dice, cluster, client = random.Random(chain.seed), chain.cluster, chain.client
        client.release(webhooks // 2)
        await client.reaches(webhooks // 4)
        dead = dice.sample(list(cluster.nodes), 2)
        for node in dead:
            await asyncio.to_thread(cluster.kill, node)
        client.release(webhooks)
        await asyncio.sleep(away_s)
        assert client.answered < webhooks
        await asyncio.to_thread(cluster.restart, *dead)
        await chain.judge([f"away for {away_s:.0f} s: nodes {dead}"])
