"""A name may stand for another topic than it did: its id tells, and lies beside every offset that is committed."""

from __future__ import annotations

import uuid
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import IncompatibleBrokerVersion

from pipeline.kafka.cluster.admin import open_admin
from pipeline.kafka.cluster.topic_identity import TopicsRequest, ask_for_topics, marked, states_of, unmarked
from pipeline.kafka.requests import UNKNOWN_TOPIC, open_requests
from pipeline.settings import Settings
from tests.kafka.shared import SharedKafka


def test_a_note_keeps_its_place_behind_the_mark() -> None:
    """What was noted is read back, with the topic or without; what others left there is a note."""
    assert unmarked(marked("x-_1", "a;b")) == ("x-_1", "a;b")
    assert unmarked(marked(None, "note")) == (None, "note")
    assert unmarked(marked("x", "")) == ("x", "")
    assert unmarked(None) == (None, "")
    assert unmarked("topic-id:cut") == (None, "topic-id:cut")


async def test_brokers_that_tell_no_ids() -> None:
    """Those before Kafka 2.8 are no failure; a cluster of which nothing is known yet tells nothing."""

    async def send(*_: Any) -> Any:
        raise IncompatibleBrokerVersion

    def client(*nodes: int) -> Any:
        brokers = [SimpleNamespace(nodeId=node) for node in nodes]
        return SimpleNamespace(cluster=SimpleNamespace(brokers=lambda: brokers), send=send)

    assert await ask_for_topics(client(1), ["t"]) is None
    assert await ask_for_topics(client(), ["t"]) == {}


@pytest.mark.kafka
async def test_a_topic_made_anew_is_another_one(kafka: SharedKafka) -> None:
    """The same name, another id; one that is not there has none."""
    settings = Settings.load(kafka_bootstrap_servers=kafka.bootstrap_servers)
    name = f"t-{uuid.uuid4().hex[:8]}"

    async def look() -> Any:
        async with open_requests(settings) as requests:
            request = TopicsRequest([name, "no-such-topic"])
            return states_of(await requests.ask(request, lambda _: ()))

    async with open_admin(settings) as admin:
        await admin.create(name, 3, -1, {})
        while not (first := (await look())[name]).partitions:
            pass
        await admin.delete([name])
        while not (await look())[name].error:
            pass
        await admin.create(name, 2, -1, {})
        while not (second := await look())[name].partitions:
            pass
    assert (first.partitions, second[name].partitions) == (3, 2)
    assert first.id is not None
    assert second[name].id not in {first.id, None}
    assert (second["no-such-topic"].id, second["no-such-topic"].error) == (None, UNKNOWN_TOPIC)
