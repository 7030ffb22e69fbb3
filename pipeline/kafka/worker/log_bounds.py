"""The offsets at which the logs of a consumer's partitions begin and end, with a request for each."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from pipeline.kafka.readers import log_ends

if TYPE_CHECKING:
    from faust.types import TP

WITHIN_S: Final = 5.0
"""For one partition; a broker that does not answer is asked again a little later."""


class LogBounds(NamedTuple):
    """Where a partition's log begins and ends, as asked for at a time of this machine's clock (unix milliseconds)."""

    start: int
    end: int
    asked_at_ms: float


async def ask_for_bounds(consumer: Any) -> dict[TP, LogBounds]:
    """Of each assigned partition; those for which no broker answers are left out. To be asked in the consumer's loop.

    Together, one partition without a leader would leave all of them without an answer.
    """
    from faust.transport.consumer import ensure_TP  # ingest knows bounds, and is no Faust app

    async def of(tp: TopicPartition) -> LogBounds | None:
        asked_at_ms = time.time() * 1000
        try:
            async with asyncio.timeout(WITHIN_S):
                start: int = (await consumer.beginning_offsets([tp]))[tp]
                end: int = (await log_ends(consumer, [tp]))[tp]
        except (KafkaError, TimeoutError):
            return None
        return LogBounds(start, end, asked_at_ms)

    partitions = list(consumer.assignment())
    found = await asyncio.gather(*map(of, partitions))
    return {ensure_TP(tp): one for tp, one in zip(partitions, found, strict=True) if one is not None}
