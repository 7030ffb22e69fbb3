"""While brokers are away a client tries again after longer and longer pauses, and is back soon after them."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.consumer.fetcher import Fetcher
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.metadata import MetadataResponse_v1
from aiokafka.protocol.produce import ProduceRequest

from pipeline.kafka.outage import Outage
from pipeline.kafka.reconnect import FIRST_S, LONGEST_S, Backoff, steady
from tests.virtual import run_virtual

TOPIC = "a"
OUTAGE_S = 60.0
TRIES = 2 * OUTAGE_S / LONGEST_S
"""Twice as many as a question at every longest pause: for the short ones at the beginning, and two clients' worth."""

NO_LEADER = -1


def metadata(leader: int, *nodes: int) -> Any:
    """What a broker says of a topic with one partition."""
    brokers = [(node, "broker", 9090 + node, None) for node in nodes]
    return MetadataResponse_v1(brokers, nodes[0], [(0, TOPIC, False, [(0, 0, leader, list(nodes), list(nodes))])])


class Network:
    """Brokers as one client meets them: `up` are reachable, `says` is what each of them answers."""

    def __init__(self, *nodes: int, leader: int = 1) -> None:
        self.up = set(nodes)
        self.says = metadata(leader, *nodes)
        self.connects: list[tuple[float, int]] = []
        self.asked: list[tuple[float, int]] = []

    def attach(self, client: AIOKafkaClient) -> None:
        """Put the client on this network; the methods are those that `steady` wraps, without their sockets."""
        client.cluster.update_metadata(self.says)
        client._topics = {TOPIC}

        async def get_conn(node: int, **_: Any) -> Connection | None:
            self.connects.append((asyncio.get_running_loop().time(), node))
            await asyncio.sleep(0)
            if node not in self.up:
                client.force_metadata_update()
                return None
            conn = client._conns[node, 0] = Connection(self, node)
            return conn

        client._get_conn = get_conn
        steady(client, Outage())
        client._sync_task = asyncio.get_running_loop().create_task(client._md_synchronizer())


class Connection:
    """To one broker; answers metadata."""

    def __init__(self, network: Network, node: int) -> None:
        self._network = network
        self._node = node

    def connected(self) -> bool:
        """Whether the broker is there."""
        return self._node in self._network.up

    async def send(self, request: Any, **_: Any) -> Any:
        """What the broker says of the topic; it takes no batch."""
        if isinstance(request, ProduceRequest):
            raise KafkaConnectionError
        self._network.asked.append((asyncio.get_running_loop().time(), self._node))
        await asyncio.sleep(0)
        return self._network.says

    async def close(self, **_: Any) -> None:
        """Nothing to close."""


@asynccontextmanager
async def producing(network: Network) -> AsyncIterator[AIOKafkaProducer]:
    """Aiokafka's own sender on that network, with a batch on its hands."""
    producer = AIOKafkaProducer(enable_idempotence=True, acks="all")
    producer._message_accumulator._batch_ttl = math.inf
    assert producer._txn_manager is not None
    producer._txn_manager.set_pid_and_epoch(1, 0)
    network.attach(producer.client)
    await producer._sender.start()
    await producer._message_accumulator.add_message(TopicPartition(TOPIC, 0), None, b"v", 1.0)
    try:
        yield producer
    finally:
        producer._closed = True
        producer._sender.sender_task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await producer._sender.sender_task
        await producer.client.close()


def test_a_sender_without_a_leader_waits_quietly() -> None:
    """The broker went down with a batch on its way, after it had named no leader: a minute costs some sixty tries."""
    network = Network(1, leader=NO_LEADER)
    network.up.clear()

    async def outage() -> None:
        async with producing(network):
            await asyncio.sleep(OUTAGE_S)

    run_virtual(outage())
    assert 10 < len(network.connects) < TRIES


def test_a_leader_that_is_not_elected_is_asked_for_with_pauses() -> None:
    """The brokers answer, and no answer names a leader: their answers cost no loop either."""
    network = Network(1, 2, leader=NO_LEADER)

    async def offline() -> None:
        async with producing(network):
            await asyncio.sleep(OUTAGE_S)

    run_virtual(offline())
    assert 10 < len(network.asked) < TRIES


def test_a_fetcher_waits_quietly_too() -> None:
    """The same loop stands in the consumer."""
    network = Network(1, leader=NO_LEADER)
    network.up.clear()

    async def outage() -> None:
        client = AIOKafkaClient()
        network.attach(client)
        tp = TopicPartition(TOPIC, 0)
        state = SubscriptionState()
        state.assign_from_user([tp])
        state.subscription.assignment.state_value(tp).seek(0)
        fetcher = Fetcher(client, state)
        await asyncio.sleep(OUTAGE_S)
        await fetcher.close()
        await client.close()

    run_virtual(outage())
    assert 10 < len(network.connects) < TRIES


def test_a_request_to_a_node_that_is_gone_waits_for_its_turn() -> None:
    """However often a connection is asked for, it is tried once a second; whoever waited with others shares the try."""
    network = Network(1)
    network.up.clear()

    async def impatient(client: AIOKafkaClient) -> None:
        while True:
            assert not await client.ready(1)
            await asyncio.sleep(0.01)

    async def outage() -> None:
        client = AIOKafkaClient()
        network.attach(client)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(OUTAGE_S):
                await asyncio.gather(*(impatient(client) for _ in range(5)))
        await client.close()

    run_virtual(outage())
    assert 10 < len(network.connects) < TRIES


def test_back_within_two_pauses() -> None:
    """After a minute without brokers the leader is known at most two longest pauses after they are back."""
    network = Network(1, leader=NO_LEADER)
    network.up.clear()

    async def outage() -> float:
        async with producing(network) as producer:
            await asyncio.sleep(OUTAGE_S)
            network.up.add(1)
            network.says = metadata(1, 1)
            back = asyncio.get_running_loop().time()
            known = asyncio.Event()
            producer.client.cluster.add_listener(lambda _: known.set())
            await known.wait()
            assert producer.client.cluster.leader_for_partition(TopicPartition(TOPIC, 0)) == 1
            return asyncio.get_running_loop().time() - back

    assert run_virtual(outage()) <= 2 * LONGEST_S + 0.1


def test_a_dead_broker_does_not_hold_up_the_others() -> None:
    """With one of two brokers away, each question about a leader is answered at once by the other one."""
    network = Network(1, 2, leader=2)
    network.up.discard(1)

    async def ask() -> list[float]:
        client = AIOKafkaClient()
        network.attach(client)
        waited = []
        for _ in range(50):
            began = asyncio.get_running_loop().time()
            assert await client.force_metadata_update()
            waited.append(asyncio.get_running_loop().time() - began)
        await client.close()
        return waited

    assert max(run_virtual(ask())) == 0.0


def test_the_first_question_and_one_after_success_come_at_once() -> None:
    """Nothing is slower while all is well."""
    network = Network(1)

    async def ask() -> float:
        client = AIOKafkaClient()
        network.attach(client)
        for _ in range(100):
            assert await client.ready(1)
            assert await client.force_metadata_update()
        await client.close()
        return asyncio.get_running_loop().time()

    assert run_virtual(ask()) == 0.0


@pytest.mark.parametrize(
    ("failures", "wait_s"),
    [(0, 0.0), (1, FIRST_S), (2, 2 * FIRST_S), (4, 8 * FIRST_S), (5, LONGEST_S), (99, LONGEST_S)],
)
def test_pauses_double_up_to_the_longest(failures: int, wait_s: float) -> None:
    """Each failure in a row doubles the pause; a success begins anew, and another key has its own."""
    backoff = Backoff()
    for _ in range(failures):
        backoff.failed("x", 100.0)
    assert backoff.wait_s("x", 100.0) == pytest.approx(wait_s)
    assert backoff.wait_s("x", 100.0 + LONGEST_S) == 0.0
    assert backoff.wait_s("y", 100.0) == 0.0
    backoff.succeeded("x")
    assert backoff.wait_s("x", 100.0) == 0.0


def test_what_is_forgotten_begins_anew() -> None:
    """Nodes that left the cluster are not remembered."""
    backoff = Backoff()
    backoff.failed(1, 0.0)
    backoff.failed(2, 0.0)
    backoff.keep([2])
    assert (backoff.wait_s(1, 0.0), backoff.wait_s(2, 0.0)) == (0.0, FIRST_S)


def test_a_client_is_returned() -> None:
    """`steady` fits around the making of a client."""
    made: list[Callable[..., Any]] = []

    async def make() -> None:
        client = AIOKafkaClient()
        made.append(client._get_conn)
        assert steady(client, Outage()) is client
        assert client._get_conn != made[0]

    run_virtual(make())


def test_whoever_stops_before_the_cluster_is_known_leaves_nothing_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stage that is told to end in the first moments of its start: no connection is left to the collector."""
    asked, closed = asyncio.Event(), []

    class Silent:
        """Connected to a broker that takes its time."""

        async def send(self, _request: Any) -> Any:
            asked.set()
            await asyncio.Event().wait()

        def close(self) -> None:
            closed.append(self)

    async def connect(*_: Any, **__: Any) -> Silent:
        return Silent()

    async def stopped() -> None:
        starting = asyncio.ensure_future(steady(AIOKafkaClient(), Outage()).bootstrap())
        await asked.wait()
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting

    monkeypatch.setattr("aiokafka.client.create_conn", connect)
    run_virtual(stopped())
    assert len(closed) == 1
