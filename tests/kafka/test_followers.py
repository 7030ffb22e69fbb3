"""Consumers with a rack read from the replica that is near, and ask the leader about what a follower does not have."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.structs import TopicPartition

from pipeline.kafka.cluster.admin import open_admin
from pipeline.kafka.followers import NOT_LEADER, OUT_OF_RANGE, read_near
from pipeline.kafka.readers import new_reader
from pipeline.kafka.worker.app import BatchApp
from pipeline.settings import Settings
from tests.kafka.three_brokers import Cluster

TOPIC = TopicPartition("near", 0)
RACKS = {
    "broker.rack": "zone-{node}",
    "replica.selector.class": "org.apache.kafka.common.replica.RackAwareReplicaSelector",
}
WITHIN_S = 300.0
NEAR = 20
"""Records in a row that come from the follower: one that is late for a moment is asked again later."""


@pytest.mark.kafka
async def test_reads_come_from_the_near_replica(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A reader in a follower's rack reads from the follower; when that is killed, from the leader, without a gap."""
    with Cluster.start(tmp_path_factory.mktemp("racks"), properties=RACKS) as cluster:
        settings = Settings.load(kafka_bootstrap_servers=cluster.bootstrap_servers)
        async with open_admin(settings) as admin:
            await admin.create(TOPIC.topic, 1, 3, {})
        await cluster.wait_until_in_sync(TOPIC.topic)
        leader = await cluster.leader(TOPIC.topic, 0)
        follower = next(node for node in cluster.nodes if node != leader)
        near = Settings.load(kafka_bootstrap_servers=cluster.bootstrap_servers, kafka_client_rack=f"zone-{follower}")
        reader = new_reader(near)
        reader.assign([TOPIC])
        async with AIOKafkaProducer(bootstrap_servers=cluster.bootstrap_servers) as producer:
            await reader.start()
            try:
                found = []
                async with asyncio.timeout(WITHIN_S):
                    while follower != reader._fetcher._select_read_replica(TOPIC):
                        await producer.send_and_wait(TOPIC.topic, b"1", partition=0)
                        found.append((await reader.getone()).offset)
                    in_a_row = 0
                    while in_a_row < NEAR:
                        await producer.send_and_wait(TOPIC.topic, b"2", partition=0)
                        found.append((await reader.getone()).offset)
                        in_a_row = in_a_row + 1 if reader._fetcher._select_read_replica(TOPIC) == follower else 0
                    await asyncio.to_thread(cluster.kill, follower)
                    for _ in range(20):
                        await producer.send_and_wait(TOPIC.topic, b"3", partition=0)
                        found.append((await reader.getone()).offset)
                assert found == list(range(len(found)))
            finally:
                await reader.stop()


class Answering:
    """A client whose brokers say of every offset that it is out of range; node 1 leads."""

    def __init__(self) -> None:
        self.cluster = SimpleNamespace(leader_for_partition=lambda _: 1)

    async def send(self, _node: int, _request: Any, **_options: Any) -> Any:
        """Their answer."""
        return SimpleNamespace(topics=[("near", [(0, OUT_OF_RANGE, 7), (1, 0, 9)])])


@pytest.mark.parametrize(("node", "code"), [(1, OUT_OF_RANGE), (2, NOT_LEADER)])
async def test_only_the_leader_says_what_is_out_of_range(node: int, code: int) -> None:
    """A follower that is behind must not send the reader back to the log's start."""
    consumer = SimpleNamespace(_client=Answering(), _client_rack=None)
    read_near(consumer, "zone-2")
    answer = await consumer._client.send(node, FetchRequest(1, 1, 1, 0, [], rack_id="zone-2"))
    assert answer.topics == [("near", [(0, code, 7), (1, 0, 9)])]
    assert consumer._client_rack == "zone-2"


def test_without_a_rack_nothing_changes() -> None:
    """Reads go to leaders, and their answers are as they are."""
    client = Answering()
    read_near(SimpleNamespace(_client=client), None)
    assert "send" not in vars(client)


async def test_a_worker_reads_near() -> None:
    """Faust passes no rack on, so the consumer that it makes is given the worker's."""
    settings = Settings.load(kafka_client_rack="zone-2")
    app = BatchApp("near", settings=settings, batch_topics=[TOPIC.topic], stage="sink")
    thread = cast("Any", app.consumer)._thread
    consumer = thread._create_worker_consumer(app.transport)
    try:
        assert consumer._client_rack == "zone-2"
    finally:
        await consumer.stop()
