"""Requests about consumer groups: their offsets and the texts beside these, their members, the rights on them.

Each error code becomes an exception that names the group.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from aiokafka.protocol.admin import DescribeGroupsRequest
from aiokafka.protocol.commit import OffsetCommitRequest, OffsetFetchRequest
from aiokafka.structs import TopicPartition

from pipeline.errors import ConfigurationError
from pipeline.kafka.cluster.members import Member, member_of
from pipeline.kafka.cluster.rights import NOT_TOLD, known_operations
from pipeline.kafka.cluster.topic_identity import UNSUPPORTED
from pipeline.kafka.requests import Requests, named

GROUP_AUTHORIZATION_FAILED: Final = 30

NO_OFFSET: Final = -1

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class GroupState:
    """A consumer group as its coordinator sees it: `Stable`, `Empty`, `PreparingRebalance`, `Dead` (unheard of)."""

    state: str
    members: int


class GroupAdmin:
    """Requests about consumer groups; part of `admin.Admin`."""

    def __init__(self, requests: Requests) -> None:
        self._requests = requests

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

    async def allowed_on_group(self, group: str) -> int | None:
        """What this user may do on a group, as bits of `rights.Operation`, whether it exists or not; None: unknown."""
        request = DescribeGroupsRequest([group], include_authorized_operations=True)
        try:
            answer = await self._requests.ask_coordinator(group, request, lambda told: [_group_error(told)])
        except UNSUPPORTED:
            return None
        code = _group_error(answer)
        if code:
            return 0 if code == GROUP_AUTHORIZATION_FAILED else None
        return known_operations(answer.to_object()["groups"][0].get("authorized_operations", NOT_TOLD))


def _by_topic(rows: Iterable[tuple[TopicPartition, T]]) -> list[tuple[str, list[T]]]:
    """As requests want it."""
    found: dict[str, list[T]] = {}
    for tp, row in rows:
        found.setdefault(tp.topic, []).append(row)
    return list(found.items())


def _group_error(answer: Any) -> int:
    body = answer.to_object()
    if "groups" in body:
        return int(body["groups"][0]["error_code"])
    return int(body.get("error_code", 0))
