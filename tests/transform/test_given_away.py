"""What a transform could not write before its partitions went is never written behind what their next owner writes."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor

from pipeline.kafka.cluster.admin import open_admin
from tests.admin import until_done
from tests.kafka.three_brokers import Cluster
from tests.transform.test_worker import (
    DODO_CIO,
    ChainSettings,
    Start,
    payments,
    produce,
    read_all,
    start,  # noqa: F401 - a fixture
)

pytestmark = pytest.mark.kafka

PAYMENTS = 40
UNHURRIED = (sys.executable, str(Path(__file__).with_name("unhurried_worker.py")))


@pytest.mark.parametrize(("frozen", "state"), [(False, True), (False, False), (True, True)])
async def test_outputs_that_could_not_leave_in_time(
    frozen: bool,
    state: bool,
    start: Start,  # noqa: F811 - the fixture
    kafka_cluster: Cluster,
    chain_settings: ChainSettings,
) -> None:
    """The operations' topic cannot be written while a partition moves: the old owner's operations stay unwritten.

    It hands over in vain, or is frozen past its session, loses all and is given one partition when it wakes up: at
    once, since nothing of what is in flight can end any more, whatever grace there is for it (here ten minutes).
    Written later, an identify with an old total would be the last that Customer.io hears.
    """
    settings = await chain_settings(kafka_bootstrap_servers=kafka_cluster.bootstrap_servers, partitions=2, state=state)
    settings = settings.model_copy(update={"operations_topic": f"{settings.operations_topic}-alone"})
    async with open_admin(settings) as admin:
        await admin.create(settings.operations_topic, 1, 1, {})
    alone = await kafka_cluster.leader(settings.operations_topic, 0)
    worker = await start(settings, UNHURRIED if frozen else DODO_CIO).ready()
    await asyncio.to_thread(kafka_cluster.kill, alone)
    offsets = defaultdict(list)
    for place in await produce(settings, payments(0, PAYMENTS)):
        offsets[place.partition].append(place.offset)
    async with asyncio.timeout(300):
        delivered = "dodo_cio_records_delivered_total"
        while sum(one.value for one in await worker.samples(delivered)) != PAYMENTS:  # noqa: ASYNC110 - a scrape
            await asyncio.sleep(0.05)
    if frozen:
        worker.process.send_signal(signal.SIGSTOP)
    async with AIOKafkaConsumer(
        settings.webhooks_topic,
        bootstrap_servers=settings.kafka_bootstrap_servers,
        group_id=settings.transform_group,
        client_id="zz-guest",
        enable_auto_commit=False,
        partition_assignment_strategy=[RoundRobinPartitionAssignor],
    ) as guest:
        await owns(guest, 2 if frozen else 1)
        await asyncio.to_thread(kafka_cluster.restart, alone)
        if frozen:
            worker.process.send_signal(signal.SIGCONT)
            await owns(guest, 1)
        (theirs,) = guest.assignment()
        kept = TopicPartition(settings.webhooks_topic, 1 - theirs.partition)
        offset = {kept.partition: len(offsets[kept.partition])}
        await until_done(settings, settings.transform_group, kept.topic, worker.alive, offsets=offset)
        written = await read_all(settings, settings.operations_topic)
    assert await worker.stop() == 0
    sources = Counter(dict(record.headers)["source"].decode() for record in written)
    assert sources == {f"{kept.topic}/{kept.partition}/{offset}": 2 for offset in offsets[kept.partition]}


async def owns(guest: AIOKafkaConsumer, partitions: int) -> None:
    """Wait until the guest has so many."""
    async with asyncio.timeout(120):
        while len(guest.assignment()) != partitions:  # noqa: ASYNC110 - aiokafka has nothing to await
            await asyncio.sleep(0.05)
