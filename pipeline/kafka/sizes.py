"""What fits into a topic: the record batch, its overhead included, is what `max.message.bytes` limits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError

from pipeline.errors import TopicError
from pipeline.kafka.reach import explaining
from pipeline.kafka.security import client_options
from pipeline.settings import Settings

BATCH_BYTES: Final = 256 * 1024
"""Batches that we build. Larger ones gain nothing more (a batch per partition and request is in flight), and one of
1 MiB would be refused by a topic with Kafka's default limit."""

LARGEST_RECORD_BYTES: Final = 1_000_000
"""A webhook body of at most 900,000 bytes, its key and its headers, with a dead letter's added."""

DEFAULT_MAX_MESSAGE_BYTES: Final = 1_048_588
"""Kafka's `message.max.bytes`; assumed when the broker does not let us read the topic's configuration."""

MAX_MESSAGE_BYTES: Final = "max.message.bytes"


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
    settings: Settings, *topics: str, record_bytes: int = LARGEST_RECORD_BYTES, batch_bytes: int = BATCH_BYTES
) -> None:
    """Make sure that each topic takes what this client sends to it.

    An oversize batch that only the broker notices breaks the sequence of its partition for good.

    Raises:
        TopicError: naming each topic that is too small.
        BrokerUnreachableError: no broker answered.
    """
    faults = size_faults(await max_message_bytes(settings, topics), batch_bytes, record_bytes)
    if faults:
        raise TopicError("\n".join(faults))


async def max_message_bytes(settings: Settings, topics: Iterable[str]) -> dict[str, int]:
    """`max.message.bytes` of each topic; Kafka's default where the broker does not tell us.

    Raises:
        BrokerUnreachableError: no broker answered.
    """
    names = list(topics)
    limits = dict.fromkeys(names, DEFAULT_MAX_MESSAGE_BYTES)
    admin = AIOKafkaAdminClient(**client_options(settings))
    try:
        with explaining(settings):
            await admin.start()
        responses = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name) for name in names])
    except KafkaError:  # not authorized to describe: the check of the topics says so, the limit is then a guess
        return limits
    finally:
        await admin.close()
    for response in responses:
        for error_code, _, _, name, entries, *_ in response.resources:
            if error_code == 0:
                limits[name] = next(int(value) for key, value, *_ in entries if key == MAX_MESSAGE_BYTES)
    return limits
