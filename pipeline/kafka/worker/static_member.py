"""Static membership (KIP-345): a member that keeps its place in the group over a restart, under a name of its own.

aiokafka 0.14 joins and syncs with a `group_instance_id`, and leaves it out of heartbeats and commits. So a member whose
place was taken by another process of the same name only gets an unknown-member error, joins again, and takes the place
back: the two would chase each other for ever. With the name in every request, as the KIP asks, the brokers answer
FENCED_INSTANCE_ID, and the one that was there first ends.

Written with aiokafka's own protocol classes. Needs brokers of Kafka 2.3 or newer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from aiokafka.errors import KafkaError
from aiokafka.protocol.api import Request, RequestStruct
from aiokafka.protocol.commit import OffsetCommitRequest, OffsetCommitResponse_v3
from aiokafka.protocol.group import HeartbeatRequest, HeartbeatResponse_v1
from aiokafka.protocol.types import Array, Int32, Int64, Schema, String

FENCED_INSTANCE_ID: Final = 82
"""Error code of the brokers; aiokafka 0.14 has no class for it."""

NO_LEADER_EPOCH: Final = -1

Partition = tuple[int, int, str]
"""(number, offset, metadata), as aiokafka's request holds it."""


class FencedInstanceIdError(KafkaError):  # type: ignore[misc]  # untyped upstream
    """Another process has joined under this one's name; this process may send nothing more to the group."""


class HeartbeatResponseV3(HeartbeatResponse_v1):  # type: ignore[misc]  # untyped upstream
    """As before."""

    API_VERSION = 3


class HeartbeatRequestV3(RequestStruct):  # type: ignore[misc]  # untyped upstream
    """The first version with the name."""

    API_KEY = 12
    API_VERSION = 3
    RESPONSE_TYPE = HeartbeatResponseV3
    SCHEMA = Schema(
        ("group", String("utf-8")),
        ("generation_id", Int32),
        ("member_id", String("utf-8")),
        ("group_instance_id", String("utf-8")),
    )


class StaticHeartbeatRequest(Request[HeartbeatRequestV3]):  # type: ignore[misc]  # untyped upstream
    """aiokafka's heartbeat, signed."""

    API_KEY = 12

    def __init__(self, plain: HeartbeatRequest, instance_id: str) -> None:
        self._fields = (plain._group, plain._generation_id, plain._member_id, instance_id)  # noqa: SLF001 - what it was built with

    def build(self, request_struct_class: type[HeartbeatRequestV3]) -> HeartbeatRequestV3:
        """The request of the negotiated version."""
        return request_struct_class(*self._fields)


class OffsetCommitResponseV7(OffsetCommitResponse_v3):  # type: ignore[misc]  # untyped upstream
    """As before."""

    API_VERSION = 7


class OffsetCommitRequestV7(RequestStruct):  # type: ignore[misc]  # untyped upstream
    """The first version with the name; retention has gone, the leader's epoch has come."""

    API_KEY = 8
    API_VERSION = 7
    RESPONSE_TYPE = OffsetCommitResponseV7
    SCHEMA = Schema(
        ("consumer_group", String("utf-8")),
        ("consumer_group_generation_id", Int32),
        ("consumer_id", String("utf-8")),
        ("group_instance_id", String("utf-8")),
        (
            "topics",
            Array(
                ("topic", String("utf-8")),
                (
                    "partitions",
                    Array(
                        ("partition", Int32),
                        ("offset", Int64),
                        ("leader_epoch", Int32),
                        ("metadata", String("utf-8")),
                    ),
                ),
            ),
        ),
    )


class StaticOffsetCommitRequest(Request[OffsetCommitRequestV7]):  # type: ignore[misc]  # untyped upstream
    """aiokafka's commit, signed."""

    API_KEY = 8

    def __init__(self, plain: OffsetCommitRequest, instance_id: str) -> None:
        topics: list[tuple[str, list[Partition]]] = plain._topics  # noqa: SLF001 - as above
        self._fields = (
            plain._consumer_group,  # noqa: SLF001
            plain._consumer_group_generation_id,  # noqa: SLF001
            plain._consumer_id,  # noqa: SLF001
            instance_id,
            [
                (topic, [(number, offset, NO_LEADER_EPOCH, metadata) for number, offset, metadata in partitions])
                for topic, partitions in topics
            ],
        )

    def build(self, request_struct_class: type[OffsetCommitRequestV7]) -> OffsetCommitRequestV7:
        """The request of the negotiated version."""
        return request_struct_class(*self._fields)


class StaticMember:
    """Signs what a coordinator of aiokafka sends, and hears when the name is another's; in the consumer's thread.

    Args:
        coordinator: aiokafka's, of this member.
        instance_id: the name.
        fenced: called once, as soon as the brokers report that another process has it.
    """

    def __init__(self, coordinator: Any, instance_id: str, fenced: Callable[[], None]) -> None:
        self._instance_id = instance_id
        self._tell = fenced
        self._send = coordinator._send_req  # noqa: SLF001 - all requests to the group go through it
        self.is_fenced = False
        coordinator._send_req = self.send  # noqa: SLF001

    async def send(self, request: Any) -> Any:
        """What aiokafka's `_send_req` is for.

        Raises:
            FencedInstanceIdError: the name was lost before, so nothing was sent: joining again would take it back.
            KafkaError: as aiokafka's own.
        """
        if self.is_fenced:
            raise FencedInstanceIdError
        answer = await self._send(self._signed(request))
        if FENCED_INSTANCE_ID in _errors(answer) and not self.is_fenced:
            self.is_fenced = True
            self._tell()
        return answer

    def _signed(self, request: Any) -> Any:
        match request:
            case HeartbeatRequest():
                return StaticHeartbeatRequest(request, self._instance_id)
            case OffsetCommitRequest():
                return StaticOffsetCommitRequest(request, self._instance_id)
            case _:  # aiokafka signs joins and syncs itself, the others have no name
                return request


def _errors(answer: Any) -> set[int]:
    """The error codes of an answer about the membership: for all of it, or for each partition of a commit."""
    if isinstance(answer, OffsetCommitResponse_v3):
        return {code for _, partitions in answer.topics for _, code in partitions}
    return {getattr(answer, "error_code", 0)}
