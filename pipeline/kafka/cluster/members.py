"""Who is in a consumer group, as its coordinator reports: which client, from where, reading what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata
from aiokafka.structs import TopicPartition

CONSUMER: Final = "consumer"
"""The protocol type of consumers; Kafka Connect and others have groups too."""


@dataclass(frozen=True, slots=True)
class Member:
    """One member of a group.

    Attributes:
        client_id: what the client calls itself.
        host: the address that it comes from, as the coordinator sees it.
        topics: what it wants to read; None: unknown, as during a rebalance, or not decodable.
        assigned: what was given to it; None as with `topics`.
    """

    client_id: str
    host: str
    topics: frozenset[str] | None
    assigned: frozenset[TopicPartition] | None

    def __str__(self) -> str:
        """As messages name it."""
        return f"{self.client_id} at {self.host}"


def member_of(told: Mapping[str, Any], protocol_type: str) -> Member:
    """A member as DescribeGroups returns it; bytes of another program's own are not guessed at."""
    topics, assigned = None, None
    if protocol_type == CONSUMER:
        try:
            if metadata := told["member_metadata"]:
                topics = frozenset(ConsumerProtocolMemberMetadata.decode(metadata).subscription)
            if assignment := told["member_assignment"]:
                assigned = frozenset(ConsumerProtocolMemberAssignment.decode(assignment).partitions())
        except Exception:  # noqa: BLE001 - anybody's bytes, and the decoder fails in as many ways
            topics, assigned = None, None
    return Member(told["client_id"], told["client_host"].removeprefix("/"), topics, assigned)
