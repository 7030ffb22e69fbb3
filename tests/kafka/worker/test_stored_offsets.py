"""A coordinator that cannot tell what is committed is asked again; nothing begins at the start of a log for that."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.errors import GroupAuthorizationFailedError
from aiokafka.protocol.commit import OffsetFetchResponse_v1, OffsetFetchResponse_v3
from aiokafka.structs import OffsetAndMetadata, TopicPartition

from pipeline.kafka.cluster.admin import open_admin
from pipeline.kafka.worker.stored_offsets import hear_refusals
from pipeline.settings import Settings
from tests.kafka.three_brokers import Cluster

TP = TopicPartition("operations", 0)
STORED = OffsetFetchResponse_v3(0, [("operations", [(0, 1_000_000, "", 0)])], 0)
NONE_STORED = OffsetFetchResponse_v3(0, [("operations", [(0, -1, "", 0)])], 0)
LOADING, NOT_AVAILABLE, NOT_COORDINATOR, NOT_AUTHORIZED = 14, 15, 16, 30


class Coordinator(GroupCoordinator):  # type: ignore[misc]  # untyped upstream
    """aiokafka's, with brokers that answer what the test wants."""

    def __init__(self, answers: Sequence[Any]) -> None:  # its own would begin tasks
        self.answers = list(answers)
        self.group_id, self._retry_backoff_ms = "group", 0
        self.coordinator_id: int | None = 1
        self.looked_for = 0

    def __del__(self) -> None:
        """Nothing was begun."""

    async def ensure_coordinator_known(self) -> None:
        """Look for it where it is not known."""
        self.looked_for += self.coordinator_id is None
        self.coordinator_id = 1

    def coordinator_dead(self) -> None:
        """It is to be looked for."""
        self.coordinator_id = None

    async def _send_req(self, request: Any) -> Any:
        """One request; its answer as it comes from a broker."""
        assert request.API_KEY == 9
        answer = self.answers.pop(0)
        return type(answer).decode(BytesIO(answer.encode()))


def refusing(code: int) -> OffsetFetchResponse_v3:
    """As Apache Kafka refuses: one code, and no topics."""
    return OffsetFetchResponse_v3(0, [], code)


@pytest.mark.parametrize(
    ("code", "looked_for"), [(LOADING, 0), (NOT_AVAILABLE, 1), (NOT_COORDINATOR, 1)], ids=["loading", "away", "moved"]
)
async def test_a_refusal_is_asked_again(code: int, looked_for: int) -> None:
    """Until there is an answer, and from another broker where this one is no coordinator."""
    coordinator = Coordinator([refusing(code), refusing(code), STORED])
    hear_refusals(coordinator)
    assert await coordinator.fetch_committed_offsets([TP]) == {TP: OffsetAndMetadata(1_000_000, "")}
    assert coordinator.looked_for == 2 * looked_for
    assert coordinator.answers == []


async def test_what_does_not_pass_is_raised() -> None:
    """Nobody may take it for a new group."""
    coordinator = Coordinator([refusing(NOT_AUTHORIZED)])
    hear_refusals(coordinator)
    with pytest.raises(GroupAuthorizationFailedError, match="refused with code 30"):
        await coordinator.fetch_committed_offsets([TP])


@pytest.mark.parametrize(
    "answer", [NONE_STORED, OffsetFetchResponse_v1([("operations", [(0, -1, "", 0)])])], ids=["v3", "v1"]
)
async def test_a_new_group_has_none(answer: Any) -> None:
    """That is an answer too."""
    coordinator = Coordinator([answer])
    hear_refusals(coordinator)
    assert await coordinator.fetch_committed_offsets([TP]) == {}


@pytest.mark.kafka
async def test_another_broker_than_the_coordinator(kafka_cluster: Cluster) -> None:
    """Real brokers refuse in that form, and the group stands where it stood; aiokafka alone finds nothing."""
    topic, group = "stored-offsets", "stored-offsets"
    settings = Settings.load(kafka_bootstrap_servers=kafka_cluster.bootstrap_servers)
    async with open_admin(settings) as admin:
        await admin.create(topic, 1, 3, {})
    await kafka_cluster.wait_until_in_sync(topic)
    tp = TopicPartition(topic, 0)
    async with AIOKafkaProducer(bootstrap_servers=kafka_cluster.bootstrap_servers) as producer:
        for _ in range(3):
            await producer.send_and_wait(topic, b"1")
    consumer = AIOKafkaConsumer(
        bootstrap_servers=kafka_cluster.bootstrap_servers, group_id=group, enable_auto_commit=False
    )
    consumer.assign([tp])
    await consumer.start()
    try:
        await consumer.commit({tp: 2})
        coordinator = consumer._coordinator
        await coordinator.ensure_coordinator_known()
        await consumer._client.force_metadata_update()
        right = coordinator.coordinator_id
        wrong = next(broker.nodeId for broker in consumer._client.cluster.brokers() if broker.nodeId != right)
        for hears, found in ((False, {}), (True, {tp: OffsetAndMetadata(2, "")})):
            if hears:
                hear_refusals(coordinator)
            coordinator.coordinator_id = wrong
            assert await coordinator.fetch_committed_offsets([tp]) == found
        assert coordinator.coordinator_id == right
    finally:
        await consumer.stop()
