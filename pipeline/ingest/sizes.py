"""Whether what ingest produces fits into its topics; asked at the start.

A record that the broker refuses for its size breaks the producer's sequence for every webhook behind it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pipeline import logs
from pipeline.errors import TopicError
from pipeline.ingest.producer import BATCH_BYTES, MAX_RECORD_BYTES
from pipeline.kafka.admin import open_admin
from pipeline.settings import Settings

log = logs.get(__name__)

LARGEST_BATCH_BYTES: Final = max(BATCH_BYTES, MAX_RECORD_BYTES)
"""A record larger than the client's batch size travels alone; framing is in `MAX_RECORD_BYTES`."""

MAX_MESSAGE: Final = "max.message.bytes"


async def check_sizes(settings: Settings) -> None:
    """Compare with the topics' `max.message.bytes`; without the right to read it, only a warning.

    Raises:
        TopicError: a topic takes less than the largest record that ingest may produce.
        BrokerUnreachableError: no broker answered.
    """
    async with open_admin(settings) as admin:
        try:
            topics = await admin.topics([settings.webhooks_topic, settings.dead_letters_topic])
        except TopicError as error:
            log.warning(
                "cannot check the topics' max.message.bytes; it needs the ACL DESCRIBE_CONFIGS", cause=str(error)
            )
            return
    for name, topic in topics.items():
        require_fit(name, topic.configs)


def require_fit(topic: str, configs: Mapping[str, str]) -> None:
    """Check one topic's configuration in force.

    Raises:
        TopicError: naming the topic, the value and the command that mends it.
    """
    limit = configs.get(MAX_MESSAGE, "")
    if limit.isdigit() and int(limit) < LARGEST_BATCH_BYTES:
        raise TopicError(
            f"topic {topic} has {MAX_MESSAGE}={limit}, but a webhook of the largest size that ingest accepts needs "
            f"{LARGEST_BATCH_BYTES}. See `dodo-cio topics plan`, mend with `dodo-cio topics apply`"
        )
