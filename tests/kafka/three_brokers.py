"""Three real Apache Kafka nodes, each broker and controller: what a leader's death means, tested for seconds.

Figures are those of `pipeline.kafka.local.broker` but for the ones that a cluster adds: replication factor 3 with two
in-sync replicas for every topic, and time limits under which a dead node is replaced after about two seconds (KRaft's
defaults take nine).
"""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import socket
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from aiokafka.protocol.metadata import MetadataRequest

from pipeline.kafka.local import config as local_config
from pipeline.kafka.local import distribution
from pipeline.kafka.local.broker import LocalKafka, PortTakenError
from pipeline.kafka.local.node import format_node, java_command, new_cluster_id, server_command
from pipeline.kafka.local.ports import Ports, free_port

NODES = 3
WITHIN_S = 120.0
"""Limit of every wait for the cluster; reaching it is a failure, whatever the machine does besides."""

ASK_WITHIN_MS = 3000
"""A node that is being frozen or killed while we ask must not cost the wait its limit."""

POLL_S = 0.1
ATTEMPTS = 3
"""Of a start; another process may have taken a port. Rare: nobody else listens on the cluster's address."""

PROPERTIES = {
    "default.replication.factor": "3",
    "min.insync.replicas": "2",
    "offsets.topic.replication.factor": "3",
    "transaction.state.log.replication.factor": "3",
    "transaction.state.log.min.isr": "2",
    # Every five minutes leaderships would go back to the first replica, in the middle of a test.
    "auto.leader.rebalance.enable": "false",
    "share.coordinator.state.topic.replication.factor": "3",
    "share.coordinator.state.topic.min.isr": "2",
    # A dead broker is fenced, and its partitions led by others, after this long. Below it, a loaded machine fences
    # brokers that are well.
    "broker.session.timeout.ms": "2000",
    "broker.heartbeat.interval.ms": "300",
    # The same for the leader of the controllers.
    "controller.quorum.fetch.timeout.ms": "1500",
    "controller.quorum.election.timeout.ms": "700",
    "controller.quorum.election.backoff.max.ms": "300",
    "controller.quorum.request.timeout.ms": "1000",
    # A frozen follower holds every acks=all produce for so long; then it leaves the in-sync replicas.
    "replica.lag.time.max.ms": "2000",
    "replica.fetch.wait.max.ms": "200",
    "replica.fetch.backoff.ms": "100",
    "replica.socket.timeout.ms": "2000",
    # The defaults are for machines of their own; three nodes share one with the tests.
    "num.network.threads": "2",
    "num.io.threads": "4",
    "log.cleaner.threads": "1",
}


@dataclass(frozen=True)
class Wired:
    """A further listener of a node, whose clients are told another address: that of whoever relays to it."""

    inner: int
    """Port where the node listens."""

    outer: int
    """Port that it tells."""


class Node(LocalKafka):
    """One of the cluster's nodes."""

    def __init__(
        self,
        number: int,
        host: str,
        directory: Path,
        ports: Ports,
        *,
        java: list[str],
        wires: Mapping[str, Wired],
        version: str,
    ) -> None:
        super().__init__(directory, version, server_command(directory, java), ports, pid=0)
        self.wires = wires
        self.java = java
        self.number = number
        self.host = host
        self.ports = ports
        self.frozen = False

    @property
    def bootstrap_servers(self) -> str:
        """host:port for clients."""
        return f"{self.host}:{self.ports.clients}"

    @property
    def answers(self) -> bool:
        """Whether it can be asked anything."""
        return self.alive and not self.frozen

    def launch(self) -> None:
        """Start the process; blocks until it is registered and unfenced."""
        self.frozen = False
        self._launch(detach=False)


@dataclass(frozen=True)
class Partition:
    """A partition as one node knows it."""

    topic: str
    number: int
    leader: int
    replicas: frozenset[int]
    in_sync: frozenset[int]


class Cluster:
    """Running nodes, numbered from 1. Leaving the context stops them.

    What starts or ends a process blocks; in a test whose clients live on the event loop it belongs into a thread.
    """

    def __init__(self, nodes: list[Node]) -> None:
        self.nodes = {node.number: node for node in nodes}

    @classmethod
    def start(
        cls,
        directory: Path,
        *,
        heap_mb: int = 256,
        properties: Mapping[str, str] | None = None,
        version: str = distribution.DEFAULT_VERSION,
        wires: Iterable[str] = (),
    ) -> Self:
        """Start the nodes side by side; blocks until every one is registered and answers.

        Args:
            directory: for their data and logs.
            heap_mb: of each.
            properties: that win over the usual ones; `{node}` in a value is the node's number.
            version: of Apache Kafka.
            wires: names of further listeners, in capitals, for clients that come in through relays.

        Raises:
            BrokerUnreachableError: a node did not start; the message holds the last lines of its log.
        """
        for attempt in range(1, ATTEMPTS + 1):
            prepared = _prepare(directory / f"attempt-{attempt}", heap_mb, properties or {}, tuple(wires), version)
            cluster = cls(prepared)
            try:
                cluster.restart(*cluster.nodes)
            except PortTakenError:
                cluster.stop()
                if attempt == ATTEMPTS:
                    raise
            except BaseException:
                cluster.stop()
                raise
            else:
                break
        return cluster

    @property
    def bootstrap_servers(self) -> str:
        """host:port of all nodes, for clients."""
        return ",".join(node.bootstrap_servers for node in self.nodes.values())

    def bootstrap_through(self, wire: str) -> str:
        """host:port of all nodes, for clients that come in through this wire."""
        return ",".join(f"{node.host}:{node.wires[wire].outer}" for node in self.nodes.values())

    @property
    def running(self) -> list[int]:
        """Nodes that can be asked."""
        return [number for number, node in self.nodes.items() if node.answers]

    def kill(self, node: int) -> None:
        """SIGKILL."""
        self.nodes[node].kill()

    def terminate(self, node: int) -> None:
        """SIGTERM, and wait for the controlled shutdown, which hands its leaderships over first."""
        self.nodes[node].stop()

    def freeze(self, node: int) -> None:
        """Stop a node's threads: its connections stay open and nothing answers."""
        self.nodes[node].frozen = True
        self.nodes[node].pause()

    def thaw(self, node: int) -> None:
        """Let a frozen node go on."""
        self.nodes[node].resume()
        self.nodes[node].frozen = False

    def restart(self, *nodes: int) -> None:
        """Start nodes again with their data and addresses, at the same time; ends first those that run."""
        with ThreadPoolExecutor(len(self.nodes)) as threads:
            list(threads.map(self.terminate, nodes))
            list(threads.map(lambda number: self.nodes[number].launch(), nodes))

    def heal(self) -> None:
        """Every node runs again, whatever was done to it."""
        for number, node in self.nodes.items():
            if node.frozen and node.alive:
                self.thaw(number)
        self.restart(*(number for number, node in self.nodes.items() if not node.alive))

    def stop(self) -> None:
        """End all nodes; they are not asked to hand anything over."""
        for number in self.nodes:
            self.kill(number)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def controller(self) -> int | None:
        """The node that leads the controllers, from the quorum state that each keeps; None during an election."""
        states = []
        for node in self.nodes.values():
            file = node.directory / "data" / "__cluster_metadata-0" / "quorum-state"
            try:
                states.append(json.loads(file.read_text(encoding="utf-8")))
            except (FileNotFoundError, ValueError):  # none yet, or being replaced
                continue
        newest = max(states, key=lambda state: (state["leaderEpoch"], state["leaderId"]), default={"leaderId": -1})
        leader = int(newest["leaderId"])
        return leader if leader in self.nodes and self.nodes[leader].answers else None

    async def new_controller(self, *, after: int | None = None) -> int:
        """The node that leads the controllers, once there is one; another one than `after`."""
        async with asyncio.timeout(WITHIN_S):
            while (found := self.controller()) in {None, after}:  # noqa: ASYNC110 - no file says when it changes
                await asyncio.sleep(POLL_S)
        assert found is not None
        return found

    async def leader(self, topic: str, partition: int) -> int:
        """The partition's leader, once every running node names the same running node."""
        async with asyncio.timeout(WITHIN_S):
            while True:
                leaders = {one.leader for seen in await self._views([topic]) for one in seen if one.number == partition}
                if len(leaders) == 1 and leaders <= set(self.running):
                    return leaders.pop()
                await asyncio.sleep(POLL_S)

    async def coordinator(self, group: str) -> int:
        """The node that coordinates the group."""
        async with asyncio.timeout(WITHIN_S):
            while True:
                for number in self.running:
                    try:
                        async with self._asking(number) as admin:
                            found = int(await admin.find_coordinator(group))
                    except (KafkaError, OSError, TimeoutError):
                        continue
                    if found in self.running:
                        return found
                await asyncio.sleep(POLL_S)

    async def wait_until_in_sync(self, *topics: str) -> None:
        """Wait until every node runs and says that all replicas of `topics` (none: of all topics) are in sync."""
        async with asyncio.timeout(WITHIN_S):
            while True:
                views = await self._views(list(topics) or None)
                if len(views) == len(self.nodes) and all(self._whole(seen, topics) for seen in views):
                    return
                await asyncio.sleep(POLL_S)

    async def wait_until_replicated(self, topic: str, replicas: Mapping[int, frozenset[int]]) -> None:
        """Wait until every running node says that each partition has these replicas, all of them in sync."""
        async with asyncio.timeout(WITHIN_S):
            while True:
                views = await self._views([topic])
                wanted = {(number, nodes, nodes) for number, nodes in replicas.items()}
                if all(wanted <= {(one.number, one.replicas, one.in_sync) for one in seen} for seen in views) and views:
                    return
                await asyncio.sleep(POLL_S)

    @staticmethod
    def _whole(seen: list[Partition], topics: Iterable[str]) -> bool:
        known = {one.topic for one in seen}
        return known >= set(topics) and all(one.in_sync == one.replicas and one.leader in one.in_sync for one in seen)

    async def _views(self, topics: list[str] | None) -> list[list[Partition]]:
        """What each running node knows; one that does not answer is left out."""
        answers = await asyncio.gather(*(self._view(number, topics) for number in self.running))
        return [answer for answer in answers if answer is not None]

    async def _view(self, number: int, topics: list[str] | None) -> list[Partition] | None:
        try:
            async with self._asking(number) as admin:
                answer = await admin._send_request(MetadataRequest(topics, allow_auto_topic_creation=False), number)
        except (KafkaError, OSError, TimeoutError):
            return None
        return [
            Partition(
                topic["topic"],
                entry["partition"],
                entry["leader"],
                frozenset(entry["replicas"]),
                frozenset(entry["isr"]),
            )
            for topic in answer.to_object()["topics"]
            for entry in topic["partitions"]
        ]

    @asynccontextmanager
    async def _asking(self, number: int) -> AsyncIterator[Any]:
        """A connection to one node alone."""
        client = AIOKafkaAdminClient(
            bootstrap_servers=self.nodes[number].bootstrap_servers, request_timeout_ms=ASK_WITHIN_MS
        )
        try:
            async with asyncio.timeout(2 * ASK_WITHIN_MS / 1000):
                await client.start()
                yield client
        finally:
            await client.close()


def _prepare(
    directory: Path, heap_mb: int, properties: Mapping[str, str], wires: Sequence[str], version: str
) -> list[Node]:
    """Directories of nodes that know each other, formatted for one cluster."""
    jars = distribution.libraries(version)
    host = _own_address()
    ports = [Ports(free_port(), free_port()) for _ in range(NODES)]
    voters = ",".join(f"{number}@{host}:{at.controller}" for number, at in enumerate(ports, 1))
    nodes = []
    for number, at in enumerate(ports, 1):
        place = (directory / f"node-{number}").resolve()
        place.mkdir(parents=True)
        wired = {name: Wired(free_port(), free_port()) for name in wires}
        inner = "".join(f",{name}://{host}:{one.inner}" for name, one in wired.items())
        outer = "".join(f",{name}://{host}:{one.outer}" for name, one in wired.items())
        security = "".join(f",{name}:PLAINTEXT" for name in ("CONTROLLER", *wires))
        addresses = {
            "node.id": str(number),
            "controller.quorum.voters": voters,
            "controller.quorum.bootstrap.servers": "",
            "listeners": f"CLIENTS://{host}:{at.clients},CONTROLLER://{host}:{at.controller}{inner}",
            "advertised.listeners": f"CLIENTS://{host}:{at.clients}{outer}",
            "listener.security.protocol.map": f"CLIENTS:PLAINTEXT{security}",
        }
        text = local_config.properties(
            data=place / "data",
            port=at.clients,
            controller_port=at.controller,
            security=None,
            extra={**addresses, **PROPERTIES, **_of_node(properties, number)},
        )
        (place / "server.properties").write_text(text, encoding="ascii")
        java = java_command(place, jars, heap_mb)
        nodes.append(Node(number, host, place, at, java=java, wires=wired, version=version))
    format_node(nodes[0].directory, nodes[0].java, new_cluster_id())
    for node in nodes[1:]:
        _format_like(nodes[0], node)
    return nodes


def _of_node(properties: Mapping[str, str], number: int) -> dict[str, str]:
    return {name: value.replace("{node}", str(number)) for name, value in properties.items()}


def _format_like(first: Node, node: Node) -> None:
    """What the tool would write, for 0.8 s of processor time a node: only its number and the id of its disk differ."""
    source, target = (one.directory / "data" for one in (first, node))
    shutil.copytree(source, target)
    meta = target / "meta.properties"
    own = {"node.id": str(node.number), "directory.id": new_cluster_id()}
    lines = [line.partition("=") for line in meta.read_text(encoding="ascii").splitlines()]
    assert "node.id" in {name for name, _, _ in lines}  # Kafka before 3.7 has no ids of disks
    text = "".join(f"{name}{sign}{own.get(name, value)}\n" for name, sign, value in lines)
    meta.write_text(text, encoding="ascii")


def _own_address() -> str:
    """An address of 127.0.0.0/8 that is nobody's habit: a port that a dead node leaves is not given to another process.

    Where only 127.0.0.1 is configured (macOS), that.
    """
    host = ".".join(["127", *(str(random.randint(2, 254)) for _ in range(3))])
    with socket.socket() as probe:
        try:
            probe.bind((host, 0))
        except OSError:
            return "127.0.0.1"
    return host
