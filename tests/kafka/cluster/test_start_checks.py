"""The checks of a stage's start on a cluster that has just lost a broker, and on one that has none yet."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from pipeline.errors import BrokerUnreachableError, TopicError
from pipeline.kafka import reach
from pipeline.kafka.cluster.admin import open_admin
from pipeline.kafka.cluster.sizes import check_sizes, max_message_bytes
from pipeline.kafka.cluster.topics import check_topics
from pipeline.kafka.local.broker import free_port
from pipeline.settings import Settings
from tests.kafka.three_brokers import Cluster

ChainSettings = Callable[..., Awaitable[Settings]]

CHECKS = 67
FOR_S = 8.0


@pytest.mark.kafka
async def test_a_broker_that_has_died_fails_no_check(kafka_cluster: Cluster, chain_settings: ChainSettings) -> None:
    """A check every eighth of a second, for eight seconds from the death on: each one passes, with the true answer."""
    settings = await chain_settings(kafka_bootstrap_servers=kafka_cluster.bootstrap_servers)
    topics = (settings.webhooks_topic, settings.dead_letters_topic)
    await kafka_cluster.wait_until_in_sync(*topics)
    true = await max_message_bytes(settings, topics)
    victim = await kafka_cluster.leader(settings.webhooks_topic, 0)

    async def check(number: int) -> Any:
        await asyncio.sleep(number * FOR_S / CHECKS)
        counts = await check_topics(settings, topics)
        await check_sizes(settings, *topics)
        return counts, await max_message_bytes(settings, topics)

    checks = [asyncio.create_task(check(number)) for number in range(CHECKS)]
    await asyncio.to_thread(kafka_cluster.kill, victim)
    answers = await asyncio.gather(*checks, return_exceptions=True)
    assert [answer for answer in answers if answer != ({topics[0]: 4, topics[1]: 1}, true)] == []


@pytest.mark.kafka
async def test_orders_go_through_too(kafka_cluster: Cluster, chain_settings: ChainSettings) -> None:
    """Topics are created, changed and enlarged while the broker that leads the controllers is dying."""
    settings = await chain_settings(kafka_bootstrap_servers=kafka_cluster.bootstrap_servers)
    names = [f"{settings.webhooks_topic}.{number}" for number in range(8)]
    controller = await kafka_cluster.new_controller()
    dying = asyncio.create_task(asyncio.to_thread(kafka_cluster.kill, controller))
    async with open_admin(settings) as admin:
        for name in names:
            await admin.create(name, 2, 2, {})
            await admin.set_configs(name, {"retention.ms": "3600000"})
            await admin.add_partitions(name, 4)
        await dying
        async with asyncio.timeout(300):
            while True:  # the broker that answers may be behind the controller that carried the orders out
                found = await admin.topics(names)
                if {(one.partitions, one.configs["retention.ms"]) for one in found.values()} == {(4, "3600000")}:
                    break
                await asyncio.sleep(0.05)
        await admin.delete(names)
        assert len(found) == len(names)


@pytest.mark.kafka
async def test_a_frozen_broker_fails_no_check(kafka_cluster: Cluster, chain_settings: ChainSettings) -> None:
    """It takes connections and answers nothing; the others are asked."""
    settings = await chain_settings(kafka_bootstrap_servers=kafka_cluster.bootstrap_servers)
    await kafka_cluster.wait_until_in_sync(settings.webhooks_topic)
    await asyncio.to_thread(kafka_cluster.freeze, 1)
    for _ in range(3):
        assert await check_topics(settings, [settings.webhooks_topic]) == {settings.webhooks_topic: 4}


async def test_a_start_waits_for_brokers_that_are_starting(monkeypatch: pytest.MonkeyPatch) -> None:
    """While nothing listens it is tried for the time given, and the address is blamed only after it."""
    settings = Settings.load(kafka_bootstrap_servers=f"127.0.0.1:{free_port()}")
    attempts = []

    async def connect() -> None:
        attempts.append(1)
        if len(attempts) < 4:
            raise ConnectionRefusedError("Connect call failed")

    monkeypatch.setattr(reach, "RETRY_S", 0.0)
    await reach.connecting(settings, connect, within_s=60.0)
    assert len(attempts) == 4
    with pytest.raises(BrokerUnreachableError, match="nothing listens there"):
        await check_topics(settings, ["a"], connect_within_s=0.0)


async def test_a_start_does_not_wait_for_a_password_to_become_right() -> None:
    """What no waiting mends is told at once."""
    attempts = []

    async def connect() -> None:
        attempts.append(1)
        raise ConnectionError("Authentication failed")

    with pytest.raises(BrokerUnreachableError, match="password was refused"):
        await reach.connecting(Settings.load(), connect, within_s=60.0)
    assert len(attempts) == 1


@pytest.mark.kafka
async def test_a_topic_that_is_missing_is_missing_at_once(
    kafka_cluster: Cluster, chain_settings: ChainSettings
) -> None:
    """No patience is spent on a topic that nobody knows."""
    settings = await chain_settings(kafka_bootstrap_servers=kafka_cluster.bootstrap_servers)
    async with asyncio.timeout(20):
        with pytest.raises(TopicError, match="does not exist"):
            await check_topics(settings, [settings.webhooks_topic, "no-such-topic"])
        with pytest.raises(TopicError, match="configuration cannot be read"):
            await max_message_bytes(settings, ["no-such-topic"])
