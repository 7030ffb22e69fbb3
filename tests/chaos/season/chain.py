"""The chain that a season happens to: three brokers, two of each stage, a stand-in of Customer.io, a shop's traffic."""

from __future__ import annotations

import asyncio
import base64
import os
import secrets
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from pipeline.dodo.simulator import Delivery, Shop
from pipeline.kafka.local.ports import free_port
from pipeline.settings import Settings
from tests.chaos.client import Client
from tests.chaos.replicas import STAGES, Replicas, SandboxView
from tests.chaos.season.record import Stage
from tests.chaos.season.watch import Group, Watch
from tests.chaos.season.wires import Wire
from tests.conftest import ChainSettings, environment_of
from tests.kafka.three_brokers import Cluster

PARTITIONS: Final = 6
SITE_ID: Final = "site"
AHEAD_S: Final = 60.0
"""The simulated shop dates its webhooks up to a minute ahead, and the sink holds back a profile that is ahead of the
clock, as it should. Where waiting is judged, webhooks are dated so much earlier."""

WIRES: Final[Mapping[str, str]] = {stage: stage.upper() for stage in STAGES}
"""Stage → the listener by which its worker number 0 comes in."""


@dataclass
class Chain:
    """Everything that a fault may touch."""

    cluster: Cluster
    settings: Settings
    directory: Path
    replicas: Replicas
    view: SandboxView
    client: Client
    watch: Watch
    wires: Mapping[tuple[str, int], Wire]
    """Stage and node → the wire between them."""

    shop: Shop
    deliveries: list[Delivery]
    key_file: Path
    log: Path
    """Of the stand-in: every operation."""

    brief: bool
    """Whether faults are to be as short as they can."""

    @property
    def partitions(self) -> dict[Stage, int]:
        """Of the topics that the stages read; a fault adds some."""
        return self.watch.partitions

    def groups(self) -> dict[Stage, Group]:
        """Of the two stages that have one."""
        return groups(self.settings)

    def rotate_key(self) -> None:
        """From now on Customer.io takes another key; a worker that is started from now on has it."""
        key = secrets.token_hex(16)
        self.key_file.write_text(key, encoding="ascii")
        os.kill(self.replicas.sandbox.pid, signal.SIGUSR1)
        self.replicas.environment["PIPELINE_CUSTOMERIO_API_KEY"] = key


def groups(settings: Settings) -> dict[Stage, Group]:
    """The group and the topic of each stage that has one."""
    return {
        "transform": Group(settings.transform_group, settings.webhooks_topic),
        "sink": Group(settings.sink_group, settings.operations_topic),
    }


@asynccontextmanager
async def running(
    cluster: Cluster,
    build: ChainSettings,
    directory: Path,
    *,
    seed: int,
    webhooks: int,
    session_s: float,
    brief: bool,
    timed: bool,
) -> AsyncIterator[Chain]:
    """A chain that is ready, with nothing posted yet; `timed` if it will be judged how long work waits."""
    secret = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
    port, key_file, log = free_port(), directory / "key", directory / "operations.jsonl"
    key_file.write_text(secrets.token_hex(16), encoding="ascii")
    settings = await build(
        partitions=PARTITIONS,
        kafka_bootstrap_servers=cluster.bootstrap_servers,
        dodo_webhook_secrets=secret,
        customerio_site_id=SITE_ID,
        customerio_api_key=key_file.read_text(encoding="ascii"),
        customerio_url=f"http://127.0.0.1:{port}",
        log_format="json",
        session_timeout_seconds=session_s,
    )
    await cluster.wait_until_in_sync()
    stand_in = (sys.executable, "-m", "tests.chaos.season.stand_in", str(port), SITE_ID, str(key_file), str(log))
    replicas = Replicas(
        environment_of(settings), directory, site_id=SITE_ID, api_key="", sandbox_port=port, sandbox=stand_in
    )
    for replica in replicas.workers:
        replica.environment.update(way_in(cluster, replica.stage, replica.number))
    now = datetime.now(UTC)
    shop = Shop(seed, now)
    deliveries = await asyncio.to_thread(lambda: list(shop.deliveries(webhooks)))
    async with AsyncExitStack() as stack:
        wires = {
            (stage, node.number): await stack.enter_async_context(
                Wire(node.host, node.wires[name].outer, node.wires[name].inner)
            )
            for stage, name in WIRES.items()
            for node in cluster.nodes.values()
        }
        await stack.enter_async_context(replicas)
        view = await stack.enter_async_context(SandboxView(replicas.sandbox.url))
        watch = Watch(cluster.bootstrap_servers, groups(settings), {"transform": PARTITIONS, "sink": PARTITIONS})
        await stack.enter_async_context(watch)
        urls = [f"{one.url}/webhooks/dodo" for one in replicas.of("ingest")]
        client = await stack.enter_async_context(
            Client(urls, secret, deliveries, seed, now_s=now.timestamp() + (AHEAD_S if timed else 0))
        )
        yield Chain(
            cluster=cluster,
            settings=settings,
            directory=directory,
            replicas=replicas,
            view=view,
            client=client,
            watch=watch,
            wires=wires,
            shop=shop,
            deliveries=deliveries,
            key_file=key_file,
            log=log,
            brief=brief,
        )


def way_in(cluster: Cluster, stage: str, number: int) -> dict[str, str]:
    """Variables by which worker number 0 of a stage comes in through its wires, and the others directly."""
    if number:
        return {}
    return {"PIPELINE_KAFKA_BOOTSTRAP_SERVERS": cluster.bootstrap_through(WIRES[stage])}
