"""What a coordinator tells of a group's members, from real consumers and from bytes of anybody."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from pipeline.kafka.cluster.admin import open_admin
from pipeline.kafka.cluster.members import Member, member_of
from tests.conftest import ChainSettings


@pytest.mark.kafka
async def test_real_members(chain_settings: ChainSettings, tmp_path: Path) -> None:
    """Each with its client id, its topics and its partitions; a group that nobody heard of has none."""
    settings = await chain_settings(partitions=2, data_dir=tmp_path)
    topic = settings.operations_topic
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=settings.kafka_bootstrap_servers, group_id=settings.sink_group, client_id="shop-a"
    )
    async with consumer, open_admin(settings) as admin:
        await consumer.getmany(timeout_ms=0)
        (member,) = await admin.members(settings.sink_group)
        assert (member.client_id, member.topics) == ("shop-a", frozenset({topic}))
        assert member.assigned == frozenset({TopicPartition(topic, 0), TopicPartition(topic, 1)})
        assert "/" not in str(member)
        assert await admin.members(f"unheard-of.{uuid4().hex}") == []


@given(st.binary(max_size=60), st.binary(max_size=60), st.sampled_from(["consumer", "connect", ""]))
def test_bytes_of_another_program(metadata: bytes, assignment: bytes, protocol_type: str) -> None:
    """Whatever lies there, the member is named; what cannot be decoded is not told."""
    told = {"client_id": "c", "client_host": "/10.0.0.7", "member_metadata": metadata, "member_assignment": assignment}
    member = member_of(told, protocol_type)
    assert (member.client_id, member.host) == ("c", "10.0.0.7")
    if protocol_type != "consumer":
        assert member == Member("c", "10.0.0.7", None, None)
