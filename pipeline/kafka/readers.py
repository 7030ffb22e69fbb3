"""Consumers outside of any group: whoever only looks reads as the stages do, and changes nothing.

Records of a transaction that was aborted are no webhooks and no operations, and those of one that is open are none yet;
so every consumer of this project reads what is committed.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any, Final

from aiokafka import AIOKafkaConsumer
from aiokafka.consumer.fetcher import READ_UNCOMMITTED
from aiokafka.structs import TopicPartition

from pipeline.kafka.followers import read_near
from pipeline.kafka.reconnect import steady
from pipeline.kafka.security import client_options
from pipeline.kafka.unpacking import use_our_unpacking
from pipeline.settings import Settings

READ_COMMITTED: Final = "read_committed"


def new_reader(settings: Settings, **options: Any) -> AIOKafkaConsumer:
    """A consumer, not started yet, that joins no group and commits nothing; `options` are aiokafka's.

    With a group id and the default auto-commit, a consumer that only looks would move an idle group's offsets.

    Raises:
        SettingsError: a setting of the connection is malformed.
    """
    use_our_unpacking()
    consumer = AIOKafkaConsumer(
        **client_options(settings),
        **{
            "group_id": None,
            "enable_auto_commit": False,
            "auto_offset_reset": "earliest",
            "isolation_level": READ_COMMITTED,
            **options,
        },
    )
    steady(consumer._client)  # noqa: SLF001 - aiokafka has no setting for it
    read_near(consumer, settings.kafka_client_rack)
    return consumer


async def log_ends(consumer: AIOKafkaConsumer, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
    """Where each partition's log ends.

    `consumer.end_offsets` returns where what can be read ends: at the first record of a transaction that is open.

    Raises:
        KafkaError: the brokers did not answer in time.
    """
    # aiokafka asks with the consumer's own isolation level. A copy shares its connections, and starts no task.
    fetcher = copy.copy(consumer._fetcher)  # noqa: SLF001
    fetcher._isolation_level = READ_UNCOMMITTED  # noqa: SLF001
    ends: dict[TopicPartition, int] = await fetcher.end_offsets(list(partitions), consumer._request_timeout_ms)  # noqa: SLF001
    return ends
