"""Questions and orders to the cluster, in this project's words.

The one place for them: whoever wants to know something of topics or groups asks here, and `requests` sees to it that
somebody answers. Nothing here lets the broker create a topic (a Metadata request does so by default wherever
`auto.create.topics.enable` is left on), and each error code becomes an exception that names the resource.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Final, TypeVar

from aiokafka.protocol.admin import (
    ApiVersionRequest,
    CreatePartitionsRequest,
    CreateTopicsRequest,
    DeleteRecordsRequest,
    DeleteTopicsRequest,
    DescribeConfigsRequest,
    DescribeGroupsRequest,
)
from aiokafka.protocol.commit import OffsetCommitRequest, OffsetFetchRequest
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.structs import TopicPartition

from pipeline.errors import ConfigurationError, TopicError
from pipeline.kafka.cluster.incremental import SET, Change, IncrementalAlterConfigsRequest
from pipeline.kafka.cluster.members import Member, member_of
from pipeline.kafka.cluster.topic_identity import UNSUPPORTED, TopicsRequest, states_of
from pipeline.kafka.requests import (
    PASSING,
    PATIENCE_S,
    REQUEST_TIMEOUT_MS,
    UNKNOWN_TOPIC,
    Requests,
    To,
    named,
    open_requests,
)
from pipeline.settings import Settings

TOPIC_AUTHORIZATION_FAILED: Final = 29
GROUP_AUTHORIZATION_FAILED: Final = 30
ALREADY_EXISTS: Final = 36
INVALID_PARTITIONS: Final = 37
"""Also of an order for as many partitions as there are."""

BROKER_NOT_AVAILABLE: Final = 8
INVALID_REPLICATION_FACTOR: Final = 38
ALL_FENCED: Final = "All brokers are currently fenced"
"""Nothing was done, and it passes with the first heartbeat of a broker."""

DYNAMIC_TOPIC_CONFIG: Final = 1
"""ConfigSource of a value set on the topic itself (DescribeConfigsResponse v1 and later)."""

NO_OFFSET: Final = -1

MOVED: Final = frozenset({3, 5, 6, 7})
"""Codes of a partition whose leader is another broker, or nobody at the moment, or too slow."""

DELETE_ATTEMPTS: Final = 20
DELETE_RETRY_S: Final = 0.5
"""Ten seconds for a leader to be elected."""

SHOWN_WITHIN_S: Final = 5.0
SHOWN_RETRY_S: Final = 0.05
"""For a plan that follows at once. A value that the cluster writes in another way is not waited for longer."""

NOT_TOLD: Final = -(2**31)
"""Of authorized operations: the broker did not look, or is not Kafka itself."""

T = TypeVar("T")


class Resource(IntEnum):
    """org.apache.kafka.common.config.ConfigResource.Type."""

    TOPIC = 2


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
async def open_admin(
    settings: Settings, *, connect_within_s: float = 0.0, patience_s: float = PATIENCE_S
) -> AsyncIterator[Admin]:
    """A connected `Admin`, closed at the end.

    Args:
        settings: where the brokers are.
        connect_within_s: how long a broker may take that listens to nobody yet; a wrong password is reported at once.
        patience_s: how long a request is sent to one broker after the other until one answers.

    Raises:
        BrokerUnreachableError: no broker could be reached, or it refused us; later, no broker answered a request.
        SettingsError: the connection's settings cannot be used.
    """
    async with open_requests(settings, connect_within_s=connect_within_s, patience_s=patience_s) as requests:
        yield Admin(requests)


@asynccontextmanager
async def sharing(settings: Settings, admin: Admin | None, *, connect_within_s: float = 0.0) -> AsyncIterator[Admin]:
    """`admin`, which its owner closes; without one a connection of its own, as of `open_admin`."""
    if admin is not None:
        yield admin
        return
    async with open_admin(settings, connect_within_s=connect_within_s) as own:
        yield own


class Admin:
    """A connection for questions and orders; made by `open_admin`.

    Every method may raise `BrokerUnreachableError` when no broker answers for as long as is waited for one.
    """

    def __init__(self, requests: Requests) -> None:
        self._requests = requests
        self._created: set[str] = set()

    async def ready(self) -> None:
        """Return when the cluster has a controller and somebody answers: right after its start it has neither."""
        await self._requests.ask(MetadataRequest([]), lambda _: (), to=To.CONTROLLER)

    async def brokers(self) -> dict[int, dict[int, int]]:
        """By the id of each broker that the cluster has: the newest version of each request that it knows.

        Empty for one that does not answer.
        """
        await self.ready()
        found: dict[int, dict[int, int]] = {}
        for node in self._requests.brokers:
            answer = await self._requests.ask_one(node, ApiVersionRequest())
            found[node] = {} if answer is None else {key: newest for key, _oldest, newest in answer.api_versions}
        return found

    async def partitions(self, names: Iterable[str]) -> dict[str, tuple[int, int]]:
        """(partitions, replication factor) of each of `names` that exists.

        Raises:
            TopicError: we may not look at a topic.
        """
        wanted = sorted(set(names))
        request = MetadataRequest(wanted, allow_auto_topic_creation=False)
        found = _counts(await self._requests.ask(request, _topic_codes))
        if len(found) < len(wanted):
            # A broker that has just started, or is behind, does not know the latest topics: missing is what all miss.
            for answer in await self._requests.ask_each(request):
                found |= _counts(answer)
        return found

    async def names(self) -> set[str]:
        """Every topic that we may look at."""
        answer = await self._requests.ask(MetadataRequest(None, allow_auto_topic_creation=False), lambda _: ())
        return {topic["topic"] for topic in answer.to_object()["topics"]}

    async def partitions_everywhere(self, name: str) -> int:
        """Partitions of the topic that every broker knows which answers; 0 while one does not know it."""
        request = MetadataRequest([name], allow_auto_topic_creation=False)
        counts = [_counts(answer).get(name, (0, 0))[0] for answer in await self._requests.ask_each(request)]
        return min(counts, default=0)

    async def topics(self, names: Iterable[str]) -> dict[str, ActualTopic]:
        """Each of `names` that exists, with its configuration.

        Raises:
            TopicError: we may not look at a topic or its configuration.
        """
        counts = await self.partitions(names)
        found = {}
        for name, entries in (await self.configs(counts)).items():
            if entries is None:
                raise TopicError(
                    f"topic {name}: its configuration cannot be read: this user needs the ACL DESCRIBE_CONFIGS on it"
                )
            partitions, replication_factor = counts[name]
            found[name] = ActualTopic(
                name,
                partitions,
                replication_factor,
                {key: value for key, (value, _) in entries.items() if value is not None},
                frozenset(key for key, (_, source) in entries.items() if source == DYNAMIC_TOPIC_CONFIG),
            )
        return found

    async def configs(self, names: Iterable[str]) -> dict[str, dict[str, tuple[str | None, int]] | None]:
        """Of each topic, which exists: by key the value in force and its source; None when we may not read it.

        Raises:
            TopicError: a topic's configuration cannot be read for another reason.
        """
        wanted = list(names)
        if not wanted:
            return {}
        request = DescribeConfigsRequest([(int(Resource.TOPIC), name, None) for name in wanted])
        answer = await self._requests.ask(request, _resource_codes, passing=self._passing(wanted))
        found: dict[str, dict[str, tuple[str | None, int]] | None] = {}
        for code, message, _, name, entries, *_rest in answer.resources:
            if code == TOPIC_AUTHORIZATION_FAILED:
                found[name] = None
            elif code:
                raise TopicError(f"topic {name}: its configuration cannot be read: {message or named(code)}")
            else:
                found[name] = {entry[0]: (entry[1], entry[3]) for entry in entries}
        return found

    async def allowed_on_topics(self, names: Iterable[str]) -> dict[str, int | None]:
        """What this user may do on each topic, as bits of Kafka's operations (`rights.Operation`); None: unknown.

        A topic that does not exist is left out.
        """
        request = TopicsRequest(names, operations=True)
        try:
            answer = await self._requests.ask(request, lambda told: [one.error for one in states_of(told).values()])
        except UNSUPPORTED:
            return {}
        return {
            name: 0 if state.error == TOPIC_AUTHORIZATION_FAILED else _told(state.operations)
            for name, state in states_of(answer).items()
            if state.error in {0, TOPIC_AUTHORIZATION_FAILED}
        }

    async def allowed_on_group(self, group: str) -> int | None:
        """The same on a consumer group, whether it exists or not."""
        request = DescribeGroupsRequest([group], include_authorized_operations=True)
        try:
            answer = await self._requests.ask_coordinator(group, request, lambda told: [_group_error(told)])
        except UNSUPPORTED:
            return None
        code = _group_error(answer)
        if code:
            return 0 if code == GROUP_AUTHORIZATION_FAILED else None
        return _told(answer.to_object()["groups"][0].get("authorized_operations", NOT_TOLD))

    async def create(self, name: str, partitions: int, replication_factor: int, configs: Mapping[str, str]) -> None:
        """Create a topic; `replication_factor` -1 is the cluster's default.

        Raises:
            TopicError: the cluster refused; the message has its reason.
        """
        topic: Any = (name, partitions, replication_factor, [], list(configs.items()))
        request = CreateTopicsRequest([topic], REQUEST_TIMEOUT_MS, validate_only=False)
        answer, maybe_done = await self._requests.ask_maybe_twice(request, _order_codes)
        for failed, code, *message in answer.topic_errors:
            if code and not (maybe_done and code == ALREADY_EXISTS):
                raise TopicError(f"topic {failed} was not created: {named(code)}: {_first(message)}")
        self._created.add(name)

    async def delete(self, names: Sequence[str]) -> None:
        """Delete topics; one that is not there is no fault.

        Raises:
            TopicError: the cluster refused.
        """
        request = DeleteTopicsRequest(list(names), REQUEST_TIMEOUT_MS)
        answer, _ = await self._requests.ask_maybe_twice(request, lambda told: _second(told.topic_error_codes))
        for name, code in answer.topic_error_codes:
            if code not in {0, UNKNOWN_TOPIC}:
                raise TopicError(f"topic {name} was not deleted: {named(code)}")

    async def delete_records(self, topic: str, before: Mapping[int, int]) -> None:
        """Delete what lies before an offset in partitions of a topic.

        Raises:
            TopicError: the cluster refused, or a partition has no leader.
        """
        left, said = dict(before), dict.fromkeys(before, UNKNOWN_TOPIC)
        for _ in range(DELETE_ATTEMPTS):
            request = DeleteRecordsRequest([(topic, list(left.items()))], REQUEST_TIMEOUT_MS)
            # Every broker does it for the partitions that it leads, and answers that it does not lead the others.
            for partition, code in _deleted(await self._requests.ask_each(request)):
                if not code:
                    left.pop(partition, None)
                elif said[partition] in MOVED:
                    said[partition] = code
            if not left or any(said[partition] not in MOVED for partition in left):
                break
            await asyncio.sleep(DELETE_RETRY_S)
        for partition in left:
            raise TopicError(
                f"{topic}/{partition}: its records before offset {before[partition]} were not deleted: "
                f"{named(said[partition])}. It needs the ACL DELETE on the topic, and a "
                "cleanup.policy that has delete in it"
            )

    async def set_configs(self, name: str, configs: Mapping[str, str]) -> None:
        """Set these values on the topic and leave all others as they are.

        Raises:
            TopicError: the cluster refused; the message has its reason.
        """
        changes: list[Change] = [(key, SET, value) for key, value in configs.items()]
        # AlterConfigs, which aiokafka knows, resets whatever it is not given.
        request = IncrementalAlterConfigsRequest([(int(Resource.TOPIC), name, changes)])
        answer = await self._requests.ask(
            request, lambda told: (one[0] for one in told.responses), passing=self._passing([name])
        )
        for code, message, _, failed in answer.responses:
            if code:
                raise TopicError(f"topic {failed} was not changed: {named(code)}: {message}")
        await self._shown(name, configs)

    async def _shown(self, name: str, configs: Mapping[str, str]) -> None:
        """Return once the cluster shows these values: a broker learns what the controller decided a moment later."""
        until = asyncio.get_running_loop().time() + SHOWN_WITHIN_S
        while asyncio.get_running_loop().time() < until:
            found = (await self.configs([name])).get(name)
            if found is None or all(found.get(key, (None, 0))[0] == value for key, value in configs.items()):
                return
            await asyncio.sleep(SHOWN_RETRY_S)

    async def add_partitions(self, name: str, total: int) -> None:
        """Raise the number of partitions to `total`.

        Raises:
            TopicError: the cluster refused; the message has its reason.
        """
        request = CreatePartitionsRequest([(name, (total, None))], REQUEST_TIMEOUT_MS, validate_only=False)
        answer, maybe_done = await self._requests.ask_maybe_twice(request, _order_codes)
        for failed, code, message in answer.topic_errors:
            if code == INVALID_PARTITIONS and maybe_done and (await self.partitions([name]))[name][0] == total:
                continue
            if code:
                raise TopicError(f"topic {failed} got no new partitions: {named(code)}: {message}")

    def _passing(self, names: Iterable[str]) -> frozenset[int]:
        """What we have just created is unknown to a broker for a moment at most."""
        return PASSING | {UNKNOWN_TOPIC} if self._created.intersection(names) else PASSING

    async def committed(self, group: str, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int | None]:
        """The committed offset of each partition, None where the group never committed (or it expired).

        A partition is missing from the answer when the broker did not return it.

        Raises:
            ConfigurationError: we may not look at the group, or the coordinator gave no usable answer.
        """
        noted = await self.noted(group, partitions)
        return {tp: None if one is None else one[0] for tp, one in noted.items()}

    async def noted(
        self, group: str, partitions: Sequence[TopicPartition]
    ) -> dict[TopicPartition, tuple[int, str] | None]:
        """The same with the text that lies beside each offset.

        Raises:
            ConfigurationError: as `committed`.
        """
        answer = await self._of_group(
            group, OffsetFetchRequest(group, _by_topic((tp, tp.partition) for tp in partitions))
        )
        return {
            TopicPartition(topic, partition): None if offset == NO_OFFSET else (offset, text or "")
            for topic, entries in answer.topics
            for partition, offset, text, code in entries
            if not code
        }

    async def note(self, group: str, offsets: Mapping[TopicPartition, tuple[int, str]]) -> None:
        """Commit offsets, each with a text beside it, for a group that has no members.

        Raises:
            ConfigurationError: we may not write the group's offsets, or it has members.
        """
        rows = _by_topic((tp, (tp.partition, offset, text)) for tp, (offset, text) in offsets.items())
        request = OffsetCommitRequest(
            group, OffsetCommitRequest.DEFAULT_GENERATION_ID, "", OffsetCommitRequest.DEFAULT_RETENTION_TIME, rows
        )

        def codes(told: Any) -> list[int]:
            return [code for _, entries in told.topics for _, code in entries]

        answer = await self._requests.ask_coordinator(group, request, codes)
        # The coordinator itself may be refused to us; then there are no topics in the answer.
        refused = next(filter(None, codes(answer) if hasattr(answer, "topics") else [answer.error_code]), 0)
        if refused:
            raise ConfigurationError(
                f"consumer group {group}: {named(refused)}. Writing its offsets needs the ACL READ on the group and on "
                "the topic"
            )

    async def group_state(self, group: str) -> GroupState:
        """The group as its coordinator describes it.

        Raises:
            ConfigurationError: we may not look at the group, or the coordinator gave no usable answer.
        """
        answer = await self._of_group(group, DescribeGroupsRequest([group], include_authorized_operations=False))
        entry = answer.to_object()["groups"][0]
        return GroupState(entry["state"], len(entry["members"]))

    async def members(self, group: str) -> list[Member]:
        """Who is in the group.

        Raises:
            ConfigurationError: as `group_state`.
        """
        answer = await self._of_group(group, DescribeGroupsRequest([group], include_authorized_operations=False))
        entry = answer.to_object()["groups"][0]
        return [member_of(told, entry["protocol_type"]) for told in entry["members"]]

    async def _of_group(self, group: str, request: Any) -> Any:
        """Ask the group's coordinator."""
        answer = await self._requests.ask_coordinator(group, request, lambda told: [_group_error(told)])
        if code := _group_error(answer):
            raise ConfigurationError(
                f"consumer group {group}: {named(code)}. Reading its offsets needs the ACL DESCRIBE on the group"
            )
        return answer


def _by_topic(rows: Iterable[tuple[TopicPartition, T]]) -> list[tuple[str, list[T]]]:
    """As requests want it."""
    found: dict[str, list[T]] = {}
    for tp, row in rows:
        found.setdefault(tp.topic, []).append(row)
    return list(found.items())


def _counts(answer: Any) -> dict[str, tuple[int, int]]:
    found = {}
    for topic in answer.to_object()["topics"]:
        match topic["error_code"]:
            case 0:
                replicas = min((len(partition["replicas"]) for partition in topic["partitions"]), default=0)
                found[topic["topic"]] = (len(topic["partitions"]), replicas)
            case code if code == UNKNOWN_TOPIC:
                continue
            case code if code == TOPIC_AUTHORIZATION_FAILED:
                raise TopicError(
                    f"topic {topic['topic']}: this user may not see it; it needs the ACL DESCRIBE on the topic"
                )
            case code:
                raise TopicError(f"topic {topic['topic']}: {named(code)}")
    return found


def _deleted(answers: Iterable[Any]) -> list[tuple[int, int]]:
    """Partitions and error codes of answers to DeleteRecords."""
    return [(row[0], row[2]) for answer in answers for topic in answer.topics for row in topic[1]]


def _told(operations: int) -> int | None:
    return None if operations == NOT_TOLD else operations


def _topic_codes(answer: Any) -> list[int]:
    return [topic["error_code"] for topic in answer.to_object()["topics"]]


def _resource_codes(answer: Any) -> list[int]:
    return [resource[0] for resource in answer.resources]


def _order_codes(answer: Any) -> list[int]:
    """Of an order for topics or partitions.

    A broker that has just started, or was frozen, is fenced until its next heartbeat. While all are, Kafka calls the
    replication factor invalid, as it does where it can never be reached: only its words differ (StripedReplicaPlacer).
    """
    return [
        BROKER_NOT_AVAILABLE if code == INVALID_REPLICATION_FACTOR and ALL_FENCED in _first(message) else code
        for _, code, *message in answer.topic_errors
    ]


def _second(rows: Iterable[Sequence[Any]]) -> list[int]:
    return [row[1] for row in rows]


def _group_error(answer: Any) -> int:
    body = answer.to_object()
    if "groups" in body:
        return int(body["groups"][0]["error_code"])
    return int(body.get("error_code", 0))


def _first(message: Sequence[str | None]) -> str:
    return message[0] or "no reason given" if message else "no reason given"
