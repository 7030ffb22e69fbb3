"""Checks what fits into topics: `max.message.bytes` limits the record batch, its overhead included."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from pipeline import logs
from pipeline.errors import TopicError
from pipeline.kafka.cluster.admin import Admin, sharing
from pipeline.settings import Settings

BATCH_BYTES: Final = 256 * 1024
"""Batches that we build. Larger ones gain nothing more (a batch per partition and request is in flight), and one of
1 MiB would be refused by a topic with Kafka's default limit."""

LARGEST_RECORD_BYTES: Final = 1_000_000
"""A webhook body of at most 900,000 bytes, its key and its headers, with a dead letter's added."""

DEFAULT_MAX_MESSAGE_BYTES: Final = 1_048_588
"""Kafka's `message.max.bytes`; assumed where this user may not read the topic's configuration."""

MAX_MESSAGE_BYTES: Final = "max.message.bytes"

log = logs.get(__name__)


def size_faults(limits: Mapping[str, int], batch_bytes: int, record_bytes: int) -> list[str]:
    """What is wrong with the topics' limits, one line each; empty when everything that we send fits."""
    needed = max(batch_bytes, record_bytes)
    return [
        f"topic {topic}: {MAX_MESSAGE_BYTES} is {limit}, but batches of up to {needed} bytes are sent; set it to "
        f"{DEFAULT_MAX_MESSAGE_BYTES} or more (dodo-cio topics apply)"
        for topic, limit in limits.items()
        if limit < needed
    ]


async def check_sizes(
    settings: Settings,
    *topics: str,
    record_bytes: int = LARGEST_RECORD_BYTES,
    batch_bytes: int = BATCH_BYTES,
    admin: Admin | None = None,
    connect_within_s: float = 0.0,
) -> None:
    """Make sure that each topic takes what this client sends to it; warns of those that may not be asked about.

    An oversize batch that only the broker notices breaks the sequence of its partition for good.

    Raises:
        TopicError: naming each topic that is too small.
        BrokerUnreachableError: no broker answered.
    """
    limits = await max_message_bytes(settings, topics, admin=admin, connect_within_s=connect_within_s)
    for topic in topics:
        if topic not in limits:
            log.warning(
                "The size limit of a topic is unknown: this user lacks the ACL DESCRIBE_CONFIGS on it; Kafka's default "
                "is assumed, and a smaller limit would stop this stage",
                topic=topic, assumed_bytes=DEFAULT_MAX_MESSAGE_BYTES,
            )  # fmt: skip
    if faults := size_faults(limits, batch_bytes, record_bytes):
        raise TopicError("\n".join(faults))


async def max_message_bytes(
    settings: Settings, topics: Iterable[str], *, admin: Admin | None = None, connect_within_s: float = 0.0
) -> dict[str, int]:
    """`max.message.bytes` of each topic; one is missing when this user may not read its configuration.

    Raises:
        TopicError: a topic does not exist.
        BrokerUnreachableError: no broker answered.
    """
    async with sharing(settings, admin, connect_within_s=connect_within_s) as asked:
        found = await asked.configs(topics)
    return {topic: int(configs[MAX_MESSAGE_BYTES][0] or 0) for topic, configs in found.items() if configs is not None}
