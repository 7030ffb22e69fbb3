"""Faults of brokers, and what their owners do to them under traffic."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Any, Final

from aiokafka.protocol.admin import AlterPartitionReassignmentsRequest
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Int8, Int16, Int32, Schema, String

from tests.admin import admin_client
from tests.chaos.season.act import Act
from tests.chaos.season.chain import PARTITIONS, Chain

TIMEOUT_MS: Final = 10_000
PREFERRED: Final = 0
ELECTED: Final = frozenset({0, 84})
"""No error, and ELECTION_NOT_NEEDED."""

TOPICS: Final = ("webhooks", "operations", "customers")


async def leader_killed(act: Act) -> None:
    """SIGKILL to a node that leads something, and a restart."""
    what, node = await _leader(act)
    act.say(f"{what}: node {node}")
    cluster = act.chain.cluster
    await asyncio.to_thread(cluster.kill, node)
    await act.last(1, 1, 6)
    await asyncio.to_thread(cluster.restart, node)
    await cluster.wait_until_in_sync()


async def _leader(act: Act) -> tuple[str, int]:
    cluster, settings = act.chain.cluster, act.chain.settings
    what = act.one_of([*TOPICS, "transform", "sink", "controller"])
    match what:
        case "transform" | "sink":
            return f"coordinator of {what}", await cluster.coordinator(getattr(settings, f"{what}_group"))
        case "controller":
            return what, await cluster.new_controller()
        case _:
            partition = act.dice.randrange(PARTITIONS)
            return f"leader of {what}", await cluster.leader(getattr(settings, f"{what}_topic"), partition)


async def rolled(act: Act) -> None:
    """Every node in turn, as an upgrade does it."""
    cluster = act.chain.cluster
    order = act.dice.sample(list(cluster.nodes), len(cluster.nodes))
    act.say("nodes " + ", ".join(map(str, order)))
    for node in order:
        await asyncio.to_thread(cluster.terminate, node)
        await asyncio.to_thread(cluster.restart, node)
        await cluster.wait_until_in_sync()


async def two_paused(act: Act) -> None:
    """Nothing can be written, and nobody can be elected, while two of three are frozen."""
    cluster = act.chain.cluster
    nodes = act.dice.sample(list(cluster.nodes), 2)
    for node in nodes:
        await asyncio.to_thread(cluster.freeze, node)
    try:
        seconds = await act.last(2, 2, 10)
    finally:
        for node in nodes:
            await asyncio.to_thread(cluster.thaw, node)
    act.say(f"nodes {nodes[0]} and {nodes[1]} for {seconds:.0f} s")
    await cluster.wait_until_in_sync()


async def reassigned(act: Act) -> None:
    """Each partition of a topic loses a replica, as often as not its leader, and gets it back in another order."""
    name, nodes = act.one_of(TOPICS), list(act.chain.cluster.nodes)
    act.say(name)
    topic = getattr(act.chain.settings, f"{name}_topic")
    fewer = [act.dice.sample(nodes, len(nodes) - 1) for _ in range(PARTITIONS)]
    await reassign(act.chain, topic, fewer)
    await reassign(act.chain, topic, [_around(act.dice, replicas, nodes) for replicas in fewer])


def _around(dice: random.Random, replicas: Sequence[int], nodes: Sequence[int]) -> list[int]:
    """All nodes; the one that was away at any place."""
    found = list(replicas)
    found.insert(dice.randint(0, len(found)), next(node for node in nodes if node not in replicas))
    return found


async def reassign(chain: Chain, topic: str, replicas: Sequence[Sequence[int]]) -> None:
    """Give each partition these replicas, and wait until it has them."""
    rows: list[tuple[int, list[int], dict[int, bytes]]] = [
        (number, list(nodes), {}) for number, nodes in enumerate(replicas)
    ]
    async with admin_client(chain.settings) as admin:
        request = AlterPartitionReassignmentsRequest(TIMEOUT_MS, [(topic, rows, {})], {})
        answer = await admin._send_to_controller(request)
        codes = {code for _, rows, _ in answer.responses for _, code, *_ in rows}
        assert (answer.error_code, codes) == (0, {0}), answer
    await chain.cluster.wait_until_replicated(topic, dict(enumerate(map(frozenset, replicas))))


async def elected(act: Act) -> None:
    """The leaders that the topics want, wherever another one leads."""
    async with admin_client(act.chain.settings) as admin:
        answer = await admin._send_to_controller(ElectLeadersRequest())
    codes = [code for _, rows in answer.results for _, code, _ in rows]
    assert answer.error_code == 0, answer
    assert set(codes) <= ELECTED, answer
    act.say(f"{codes.count(0)} leaderships moved")


class ElectLeadersResponseV1(Response):  # type: ignore[misc]  # untyped upstream
    """Error code and message for each partition (KIP-460)."""

    API_KEY = 43
    API_VERSION = 1
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("error_code", Int16),
        (
            "results",
            Array(
                ("topic", String("utf-8")),
                ("partitions", Array(("partition", Int32), ("error_code", Int16), ("error_message", String("utf-8")))),
            ),
        ),
    )


class ElectLeadersRequestV1(RequestStruct):  # type: ignore[misc]  # untyped upstream
    """Of which kind, in which partitions; none: in all."""

    API_KEY = 43
    API_VERSION = 1
    RESPONSE_TYPE = ElectLeadersResponseV1
    SCHEMA = Schema(
        ("election_type", Int8),
        ("partitions", Array(("topic", String("utf-8")), ("partitions", Array(Int32)))),
        ("timeout_ms", Int32),
    )


class ElectLeadersRequest(Request[ElectLeadersRequestV1]):  # type: ignore[misc]  # untyped upstream
    """Preferred leaders, in every partition."""

    API_KEY = 43

    def build(self, request_struct_class: type[ElectLeadersRequestV1]) -> Any:
        """The request of the negotiated version."""
        return request_struct_class(PREFERRED, None, TIMEOUT_MS)
