"""Reading from the replica that is near (KIP-392): a consumer's rack, and the leader's word on what is out of range.

aiokafka 0.14 follows the leader's hint to a follower of the same rack. But if a follower does not have an offset yet,
or no more, aiokafka takes its answer for the leader's: it gives the position up and reads the log from its start again.
Java's clients ask the leader then (KIP-392, "out of range offsets"), and so do these.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from aiokafka.errors import NotLeaderForPartitionError, OffsetOutOfRangeError
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.structs import TopicPartition

NOT_LEADER: Final[int] = NotLeaderForPartitionError.errno
OUT_OF_RANGE: Final[int] = OffsetOutOfRangeError.errno


def read_near(consumer: Any, rack: str | None) -> None:
    """Let an aiokafka consumer that is not started yet read from replicas of this rack; None: from leaders alone."""
    if rack is None:
        return
    consumer._client_rack = rack  # noqa: SLF001 - Faust passes none on
    client = consumer._client  # noqa: SLF001
    client.send = _LeaderDecides(client).send


class _LeaderDecides:
    """A client's `send`, in whose answers no follower reports an offset as out of range."""

    def __init__(self, client: Any) -> None:
        self._cluster = client.cluster
        self._send: Callable[..., Any] = client.send

    async def send(self, node_id: Any, request: Any, **options: Any) -> Any:
        """The answer; an offset out of range at a follower is one of a broker that does not lead, so the leader is
        asked next."""  # noqa: D205, D209
        answer = await self._send(node_id, request, **options)
        if isinstance(request, FetchRequest):
            for place, (topic, partitions) in enumerate(answer.topics):
                if any(one[1] == OUT_OF_RANGE for one in partitions):
                    answer.topics[place] = (topic, [self._judged(node_id, topic, one) for one in partitions])
        return answer

    def _judged(self, node_id: Any, topic: str, one: tuple[Any, ...]) -> tuple[Any, ...]:
        partition, code, *rest = one
        if code != OUT_OF_RANGE or self._cluster.leader_for_partition(TopicPartition(topic, partition)) == node_id:
            return one
        return (partition, NOT_LEADER, *rest)
