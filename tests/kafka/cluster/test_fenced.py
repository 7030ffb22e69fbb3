"""Topics are ordered of a cluster that counts no broker as alive at the moment."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest
from aiokafka.protocol.admin import CreatePartitionsResponse_v0, CreateTopicsResponse_v1

from pipeline.errors import TopicError
from pipeline.kafka.cluster.admin import Admin, open_admin
from pipeline.kafka.local.broker import LocalKafka
from pipeline.kafka.reach import Heard
from pipeline.kafka.requests import Requests
from pipeline.settings import Settings
from tests.kafka.test_requests import Cluster
from tests.virtual import run_virtual

ORDERS = 30
LONGER_THAN_ITS_SESSION_S = 4.0
"""`broker.session.timeout.ms` of the local broker is 3 s."""

FENCED = "Unable to replicate the partition 1 time(s): All brokers are currently fenced."
TOO_FEW = (
    "Unable to replicate the partition 3 time(s): The target replication factor of 3 cannot be reached because only "
    "1 broker(s) are registered."
)


@pytest.mark.kafka
async def test_topics_are_made_once_a_broker_is_alive_again(own_kafka: LocalKafka) -> None:
    """Orders that wait for a frozen broker are carried out when it thaws, though it is fenced until a heartbeat."""
    names = [f"t{uuid.uuid4().hex[:10]}" for _ in range(ORDERS)]
    async with open_admin(Settings.load(kafka_bootstrap_servers=own_kafka.bootstrap_servers)) as admin:
        own_kafka.pause()
        await asyncio.sleep(LONGER_THAN_ITS_SESSION_S)
        orders = [asyncio.create_task(admin.create(name, 1, -1, {})) for name in names]
        await asyncio.sleep(0)
        own_kafka.resume()
        await asyncio.gather(*orders)
        async with asyncio.timeout(300):  # the controller has answered; the broker hears of its topics a moment later
            while set(await admin.topics(names)) != set(names):  # noqa: ASYNC110 - a look is a question
                await asyncio.sleep(0.05)


def _ordering(order: str, *said: str) -> int:
    """How often the cluster was asked, if it says this in turn and then that all is well."""
    answer = CreateTopicsResponse_v1 if order == "create" else CreatePartitionsResponse_v0
    args: tuple[Any, ...] = ("orders", 3, -1, {}) if order == "create" else ("orders", 3)

    def says(attempt: int) -> Any:
        code, words = (38, said[attempt - 1]) if attempt <= len(said) else (0, None)
        rows = [("orders", code, words)]
        return answer(rows) if order == "create" else answer(0, rows)

    cluster = Cluster({1: says})
    run_virtual(getattr(Admin(Requests(cluster, Heard())), order)(*args))
    return len(cluster.asked)


@pytest.mark.parametrize("order", ["create", "add_partitions"])
def test_the_order_is_given_again(order: str) -> None:
    """While all brokers are fenced the same order is given again."""
    assert _ordering(order, FENCED, FENCED) == 3


@pytest.mark.parametrize("order", ["create", "add_partitions"])
def test_too_few_brokers_is_said_at_once(order: str) -> None:
    """A replication factor that the cluster cannot have is a fault, in the cluster's words."""
    with pytest.raises(TopicError, match="only 1 broker"):
        _ordering(order, TOO_FEW)
