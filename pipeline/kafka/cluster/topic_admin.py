"""Requests about topics: what they are, their configuration, the rights on them, and changes of them; one a method.

Nothing here lets the broker create a topic (a Metadata request does so by default wherever `auto.create.topics.enable`
is left on), and each error code becomes an exception that names the topic.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from aiokafka.protocol.admin import (
    CreatePartitionsRequest,
    CreateTopicsRequest,
    DeleteRecordsRequest,
    DeleteTopicsRequest,
    DescribeConfigsRequest,
)
from aiokafka.protocol.metadata import MetadataRequest

from pipeline.errors import TopicError
from pipeline.kafka.cluster.incremental import SET, Change, IncrementalAlterConfigsRequest
from pipeline.kafka.cluster.rights import known_operations
from pipeline.kafka.cluster.topic_identity import UNSUPPORTED, TopicsRequest, states_of
from pipeline.kafka.requests import PASSING, REQUEST_TIMEOUT_MS, UNKNOWN_TOPIC, Requests, named

TOPIC_AUTHORIZATION_FAILED: Final = 29
ALREADY_EXISTS: Final = 36
INVALID_PARTITIONS: Final = 37
"""Also of an order for as many partitions as there are."""

BROKER_NOT_AVAILABLE: Final = 8
INVALID_REPLICATION_FACTOR: Final = 38
ALL_FENCED: Final = "All brokers are currently fenced"
"""Nothing was done, and it passes with the first heartbeat of a broker."""

DYNAMIC_TOPIC_CONFIG: Final = 1
"""ConfigSource of a value set on the topic itself (DescribeConfigsResponse v1 and later)."""

MOVED: Final = frozenset({3, 5, 6, 7})
"""Codes of a partition whose leader is another broker, or nobody at the moment, or too slow."""

DELETE_ATTEMPTS: Final = 20
DELETE_RETRY_S: Final = 0.5
"""Ten seconds for a leader to be elected."""

SHOWN_WITHIN_S: Final = 5.0
SHOWN_RETRY_S: Final = 0.05
"""For a plan that follows at once. A value that the cluster writes in another way is not waited for longer."""

TOPIC: Final = 2
"""org.apache.kafka.common.config.ConfigResource.Type."""


@dataclass(frozen=True, slots=True)
class ActualTopic:
    """A topic as the cluster has it: `configs` are the values in force, `overrides` names those set on the topic."""

    name: str
    partitions: int
    replication_factor: int
    configs: Mapping[str, str] = field(default_factory=dict)
    overrides: frozenset[str] = frozenset()


class TopicAdmin:
    """Requests about topics; part of `admin.Admin`."""

    def __init__(self, requests: Requests) -> None:
        self._requests = requests
        self._created: set[str] = set()

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
        request = DescribeConfigsRequest([(TOPIC, name, None) for name in wanted])
        answer = await self._requests.ask(
            request, lambda told: [one[0] for one in told.resources], passing=self._passing(wanted)
        )
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
            name: 0 if state.error == TOPIC_AUTHORIZATION_FAILED else known_operations(state.operations)
            for name, state in states_of(answer).items()
            if state.error in {0, TOPIC_AUTHORIZATION_FAILED}
        }

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
        answer, _ = await self._requests.ask_maybe_twice(
            request, lambda told: [row[1] for row in told.topic_error_codes]
        )
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
        request = IncrementalAlterConfigsRequest([(TOPIC, name, changes)])
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


def _topic_codes(answer: Any) -> list[int]:
    return [topic["error_code"] for topic in answer.to_object()["topics"]]


def _deletion_codes(answer: Any) -> list[int]:
    return [row[1] for row in answer.topic_error_codes]


def _order_codes(answer: Any) -> list[int]:
    """Of an order for topics or partitions.

    A broker that has just started, or was frozen, is fenced until its next heartbeat. While all are, Kafka calls the
    replication factor invalid, as it does where it can never be reached: only its words differ (StripedReplicaPlacer).
    """
    return [
        BROKER_NOT_AVAILABLE if code == INVALID_REPLICATION_FACTOR and ALL_FENCED in _first(message) else code
        for _, code, *message in answer.topic_errors
    ]


def _first(message: Sequence[str | None]) -> str:
    return message[0] or "no reason given" if message else "no reason given"
