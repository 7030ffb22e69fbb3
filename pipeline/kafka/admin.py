"""Questions and orders to the cluster, in this project's words.

The only module that touches aiokafka's admin client, which calls itself experimental. It asks without ever letting
the broker create a topic (a Metadata request does so by default wherever `auto.create.topics.enable` is left on),
and turns each error code into an exception that names the resource.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    BrokerResponseError,
    KafkaConnectionError,
    KafkaError,
    NodeNotReadyError,
    RequestTimedOutError,
    for_code,
)
from aiokafka.protocol.admin import DescribeGroupsRequest
from aiokafka.protocol.commit import OffsetFetchRequest
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.structs import TopicPartition

from pipeline.errors import ConfigurationError, TopicError
from pipeline.kafka.incremental import SET, Change, IncrementalAlterConfigsRequest
from pipeline.kafka.reach import explaining, unreachable
from pipeline.kafka.security import client_options
from pipeline.settings import Settings

REQUEST_TIMEOUT_MS = 15_000
"""A person waits for the answer; aiokafka's 40 s would be taken for a hang."""

COORDINATOR_WITHIN_S = 15.0
"""The first question about any group makes a fresh cluster create `__consumer_offsets`."""

RETRY_S = 0.1

UNKNOWN_TOPIC: Final = 3
TOPIC_AUTHORIZATION_FAILED: Final = 29
PASSING_GROUP_ERRORS: Final = frozenset({14, 15, 16})
"""Coordinator loading, not available, not here: the answer a moment later is another one."""

DYNAMIC_TOPIC_CONFIG: Final = 1
"""ConfigSource of a value set on the topic itself (DescribeConfigsResponse v1 and later)."""

NO_OFFSET: Final = -1

UNREACHED = (KafkaConnectionError, NodeNotReadyError, RequestTimedOutError, TimeoutError)
"""The broker went away while we asked."""


@dataclass(frozen=True, slots=True)
class ActualTopic:
    """A topic as the cluster has it: `configs` are the values in force, `overrides` names those set on the topic."""

    name: str
    partitions: int
    replication_factor: int
    configs: Mapping[str, str] = field(default_factory=dict)
    overrides: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class GroupState:
    """A consumer group as its coordinator sees it: `Stable`, `Empty`, `PreparingRebalance`, `Dead` (unheard of)."""

    state: str
    members: int


@asynccontextmanager
async def open_admin(settings: Settings) -> AsyncIterator[Admin]:
    """A connected `Admin`, closed at the end.

    Raises:
        BrokerUnreachableError: no broker answered, or it refused us; at the start or later.
        SettingsError: the connection's settings cannot be used.
    """
    client = AIOKafkaAdminClient(**client_options(settings), request_timeout_ms=REQUEST_TIMEOUT_MS)
    try:
        with explaining(settings):
            await client.start()
        try:
            yield Admin(client)
        except UNREACHED as error:
            raise unreachable(settings, [str(error) or type(error).__name__]) from None
    finally:
        await client.close()


class Admin:
    """A connection for questions and orders; made by `open_admin`."""

    def __init__(self, client: AIOKafkaAdminClient) -> None:
        self._client = client

    async def partitions(self, names: Iterable[str]) -> dict[str, tuple[int, int]]:
        """(partitions, replication factor) of each of `names` that exists.

        Raises:
            TopicError: we may not look at a topic.
        """
        wanted = sorted(set(names))
        answer = await self._client._send_request(MetadataRequest(wanted, allow_auto_topic_creation=False))  # noqa: SLF001 - describe_topics() would let the broker create them
        found = {}
        for topic in answer.to_object()["topics"]:
            match topic["error_code"]:
                case 0:
                    replicas = min((len(partition["replicas"]) for partition in topic["partitions"]), default=0)
                    found[topic["topic"]] = (len(topic["partitions"]), replicas)
                case 3:  # UNKNOWN_TOPIC_OR_PARTITION
                    continue
                case code if code == TOPIC_AUTHORIZATION_FAILED:
                    raise TopicError(
                        f"topic {topic['topic']}: this user may not see it; it needs the ACL DESCRIBE on the topic"
                    )
                case code:
                    raise TopicError(f"topic {topic['topic']}: {_named(code)}")
        return found

    async def topics(self, names: Iterable[str]) -> dict[str, ActualTopic]:
        """Each of `names` that exists, with its configuration.

        Raises:
            TopicError: we may not look at a topic or its configuration.
        """
        counts = await self.partitions(names)
        if not counts:
            return {}
        resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in counts]
        found = {}
        for answer in await self._client.describe_configs(resources):
            for code, message, _, name, *rest in answer.resources:
                if code:
                    raise TopicError(f"topic {name}: its configuration cannot be read: {message or _named(code)}")
                entries = rest[0]
                partitions, replication_factor = counts[name]
                found[name] = ActualTopic(
                    name,
                    partitions,
                    replication_factor,
                    {entry[0]: entry[1] for entry in entries if entry[1] is not None},
                    frozenset(entry[0] for entry in entries if entry[3] == DYNAMIC_TOPIC_CONFIG),
                )
        return found

    async def create(self, name: str, partitions: int, replication_factor: int, configs: Mapping[str, str]) -> None:
        """Create a topic; `replication_factor` -1 is the cluster's default.

        Raises:
            TopicError: the cluster refused; the message has its reason.
        """
        # The class takes -1 only with an assignment, and anything else only without one.
        assignments: dict[int, list[int]] | None = {} if replication_factor == -1 else None
        topic = NewTopic(name, partitions, replication_factor, assignments, dict(configs))
        answer = await self._client.create_topics([topic])
        for failed, code, *message in answer.topic_errors:
            if code:
                raise TopicError(f"topic {failed} was not created: {_named(code)}: {_first(message)}")

    async def set_configs(self, name: str, configs: Mapping[str, str]) -> None:
        """Set these values on the topic and leave all others as they are.

        Raises:
            TopicError: the cluster refused; the message has its reason.
        """
        changes: list[Change] = [(key, SET, value) for key, value in configs.items()]
        request = IncrementalAlterConfigsRequest([(int(ConfigResourceType.TOPIC), name, changes)])
        answer = await self._client._send_request(request)  # noqa: SLF001 - alter_configs() resets whatever it is not given
        for code, message, _, failed in answer.responses:
            if code:
                raise TopicError(f"topic {failed} was not changed: {_named(code)}: {message}")

    async def add_partitions(self, name: str, total: int) -> None:
        """Raise the number of partitions to `total`.

        Raises:
            TopicError: the cluster refused; the message has its reason.
        """
        try:
            await self._client.create_partitions({name: NewPartitions(total)})
        except UNREACHED:
            raise
        except KafkaError as error:
            raise TopicError(f"topic {name} got no new partitions: {error}") from None

    async def committed(self, group: str, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int | None]:
        """The committed offset of each partition, None where the group never committed (or it expired).

        A partition is missing from the answer when the broker did not say.

        Raises:
            ConfigurationError: we may not look at the group, or the coordinator gave no usable answer.
        """
        by_topic: dict[str, list[int]] = {}
        for tp in partitions:
            by_topic.setdefault(tp.topic, []).append(tp.partition)
        answer = await self._of_group(group, OffsetFetchRequest(group, list(by_topic.items())))
        return {
            TopicPartition(topic, partition): None if offset == NO_OFFSET else offset
            for topic, entries in answer.topics
            for partition, offset, _, code in entries
            if not code
        }

    async def group_state(self, group: str) -> GroupState:
        """What the coordinator says about the group.

        Raises:
            ConfigurationError: we may not look at the group, or the coordinator gave no usable answer.
        """
        answer = await self._of_group(group, DescribeGroupsRequest([group], include_authorized_operations=False))
        entry = answer.to_object()["groups"][0]
        return GroupState(entry["state"], len(entry["members"]))

    async def _of_group(self, group: str, request: Any) -> Any:
        """Ask the group's coordinator, for as long as one is being found or is loading."""
        deadline = asyncio.get_running_loop().time() + COORDINATOR_WITHIN_S
        while True:
            try:
                node = await self._client.find_coordinator(group)
                answer = await self._client._send_request(request, node)  # noqa: SLF001 - list_consumer_group_offsets() drops the group's error code
                code = _group_error(answer)
                if not code:
                    return answer
            except UNREACHED:
                raise
            except BrokerResponseError as error:
                code = error.errno
            if code not in PASSING_GROUP_ERRORS or asyncio.get_running_loop().time() > deadline:
                raise ConfigurationError(
                    f"consumer group {group}: {_named(code)}. Reading its offsets needs the ACL DESCRIBE on the group"
                )
            await asyncio.sleep(RETRY_S)


def _group_error(answer: Any) -> int:
    body = answer.to_object()
    if "groups" in body:
        return int(body["groups"][0]["error_code"])
    return int(body.get("error_code", 0))


def _named(code: int) -> str:
    error = for_code(code)
    return str(getattr(error, "message", None) or error.__name__)


def _first(message: Sequence[str | None]) -> str:
    return message[0] or "no reason given" if message else "no reason given"
