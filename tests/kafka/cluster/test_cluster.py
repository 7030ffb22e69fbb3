"""The tests' cluster is three nodes of Kafka itself: a leader's death costs its leadership and nothing else."""

from __future__ import annotations

import asyncio
import uuid

import pytest
from aiokafka import AIOKafkaProducer

from pipeline.kafka.cluster.admin import open_admin
from pipeline.settings import Settings
from tests.kafka.three_brokers import NODES, Cluster
from tests.kafka.values import values_of

pytestmark = pytest.mark.kafka


@pytest.fixture
async def topic(kafka_cluster: Cluster) -> str:
    """A topic of the test's own with six partitions and the cluster's defaults, in sync."""
    name = f"t{uuid.uuid4().hex[:10]}"
    await kafka_cluster.wait_until_in_sync()
    async with open_admin(Settings.load(kafka_bootstrap_servers=kafka_cluster.bootstrap_servers)) as admin:
        await admin.create(name, 6, -1, {})
        await kafka_cluster.wait_until_in_sync(name)  # by then every node has heard of it
        found = (await admin.topics([name]))[name]
    assert found.replication_factor == NODES
    assert found.configs["min.insync.replicas"] == "2"
    return name


async def test_a_killed_leader_is_replaced_and_comes_back(kafka_cluster: Cluster, topic: str) -> None:
    """Another node leads with everything that was acknowledged; restarted, the old one is a follower in sync."""
    async with AIOKafkaProducer(bootstrap_servers=kafka_cluster.bootstrap_servers, enable_idempotence=True) as producer:
        await producer.send_and_wait(topic, b"before", partition=0)
        first = await kafka_cluster.leader(topic, 0)
        await asyncio.to_thread(kafka_cluster.kill, first)
        second = await kafka_cluster.leader(topic, 0)
        assert second != first
        assert kafka_cluster.running == [number for number in kafka_cluster.nodes if number != first]
        await producer.send_and_wait(topic, b"meanwhile", partition=0)
        await asyncio.to_thread(kafka_cluster.restart, first)
        await kafka_cluster.wait_until_in_sync()
        assert await kafka_cluster.leader(topic, 0) == second
        await asyncio.to_thread(kafka_cluster.terminate, second)
        assert await kafka_cluster.leader(topic, 0) != second
        await producer.send_and_wait(topic, b"after", partition=0)
    assert await values_of(kafka_cluster.bootstrap_servers, topic) == [b"before", b"meanwhile", b"after"]


async def test_a_frozen_leader_is_replaced(kafka_cluster: Cluster, topic: str) -> None:
    """A node that answers nothing loses its leaderships and its place among the in-sync; thawed, it follows."""
    first = await kafka_cluster.leader(topic, 0)
    await asyncio.to_thread(kafka_cluster.freeze, first)
    assert await kafka_cluster.leader(topic, 0) != first
    await asyncio.to_thread(kafka_cluster.thaw, first)
    await kafka_cluster.wait_until_in_sync()


async def test_the_controller_and_the_coordinator_are_replaced(kafka_cluster: Cluster, topic: str) -> None:
    """The controllers elect another leader of their own; a group's coordinator moves with its partition's leader."""
    await kafka_cluster.wait_until_in_sync(topic)
    controller = await kafka_cluster.new_controller()
    await asyncio.to_thread(kafka_cluster.kill, controller)
    assert await kafka_cluster.new_controller(after=controller) != controller
    await asyncio.to_thread(kafka_cluster.restart, controller)
    await kafka_cluster.wait_until_in_sync()
    coordinator = await kafka_cluster.coordinator("some-group")
    await asyncio.to_thread(kafka_cluster.kill, coordinator)
    assert await kafka_cluster.coordinator("some-group") != coordinator


async def test_the_next_test_has_all_nodes(kafka_cluster: Cluster) -> None:
    """Whatever a test left dead or frozen runs again."""
    kafka_cluster.freeze(1)
    kafka_cluster.kill(2)
    kafka_cluster.heal()
    assert kafka_cluster.running == list(kafka_cluster.nodes)
    await kafka_cluster.wait_until_in_sync()
