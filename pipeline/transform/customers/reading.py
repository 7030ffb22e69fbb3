"""The customers' topic as whoever only looks reads it: whole partitions to the end that they have now, in no group."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from aiokafka.errors import KafkaError

from pipeline.errors import BrokerUnreachableError
from pipeline.kafka.reach import unreachable
from pipeline.settings import Settings
from pipeline.statestore.changelog import Changelog, Piece
from pipeline.transform.customers.schema import CUSTOMERS

Told = Callable[[int, int], None]
"""Hears how many records of how many were passed."""


def nobody(_done: int, _total: int) -> None:
    """Hears nothing."""


async def read_partitions(
    settings: Settings, partitions: Iterable[int], hear: Callable[[Piece], None], told: Told = nobody
) -> None:
    """Let `hear` take in what lies in these partitions now, each in its order.

    Raises:
        TopicError: the topic may not be read, or holds facts of a newer version.
        BrokerUnreachableError: no broker answered.
    """
    try:
        async with Changelog.open(settings, frozenset(partitions), CUSTOMERS) as changelog:
            spans = await changelog.bounds()
            total, done = sum(map(len, spans.values())), dict.fromkeys(spans, 0)
            async for piece in changelog.read(spans):
                hear(piece)
                span = spans[piece.partition]
                done[piece.partition] = min(piece.next_offset, span.stop) - span.start
                told(sum(done.values()), total)
    except BrokerUnreachableError:
        raise
    except (KafkaError, OSError) as error:
        raise unreachable(settings, [str(error) or type(error).__name__]) from None
