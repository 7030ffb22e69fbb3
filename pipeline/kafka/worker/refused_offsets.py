"""Offsets at which a consumer could not read on, since their partitions' logs did not reach them.

aiokafka then reads the log from its start, and leaves no trace of that. Only the refusal shows that a log was cut (an
unclean leader election) once it has grown past the old position again: the records that came since lie below it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiokafka.protocol.fetch import FetchRequest
from faust.types import TP

from pipeline.kafka.followers import OUT_OF_RANGE


def note_refused(client: Any) -> dict[TP, int]:
    """The last offset of each partition that was out of range, kept current, for an `AIOKafkaClient` not started yet.

    Its `send` must not take a follower's word for it (`followers`). Whoever has drawn the conclusion takes it out.
    """
    refused: dict[TP, int] = {}
    send: Callable[..., Any] = client.send

    async def send_and_note(node_id: Any, request: Any, **options: Any) -> Any:
        answer = await send(node_id, request, **options)
        if isinstance(request, FetchRequest):
            for topic, partitions in answer.topics:
                for partition, code, *_ in partitions:
                    if code == OUT_OF_RANGE:
                        refused[TP(topic, partition)] = _asked_for(request, topic, partition)
        return answer

    client.send = send_and_note
    return refused


def _asked_for(request: FetchRequest, topic: str, partition: int) -> int:
    offset: int = next(
        offset
        for name, partitions in request.topics
        if name == topic
        for number, offset, _ in partitions
        if number == partition
    )
    return offset
