"""Notices a topic that went, came back, or is another one under its name; the client looks every five minutes only."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from typing import Any, Final

from aiokafka.errors import KafkaError

from pipeline import logs
from pipeline.kafka.cluster.topic_identity import ask_for_topics
from pipeline.kafka.requests import UNKNOWN_TOPIC
from pipeline.kafka.worker.topic_absence import Absences

WITHIN_S: Final = 2.0

log = logs.get(__name__)


class TopicWatch:
    """The topics of one consumer of a group; everything runs in the consumer's loop.

    `ids` are those of the topics whose partitions are assigned, as they were when the assignment began; `absences` are
    of all that it looks at.
    """

    def __init__(self) -> None:
        self.ids: Mapping[str, str] = {}
        self.absences = Absences()
        self._is_untold = False
        self._joining_for = ""

    async def ask(self, consumer: Any, topics: Collection[str]) -> dict[str, str]:
        """The ids of these topics, as far as the brokers return any.

        The client knows their partitions then. The group's leader has dealt out what it knows of, and only the leader's
        client follows the metadata: another member would take its partitions for a larger part of fewer.

        Raises:
            KafkaError: no broker answered.
        """
        if not topics or self._is_untold:
            return {}
        client = consumer._client  # noqa: SLF001 - aiokafka returns no ids
        states = await ask_for_topics(client, topics)
        if states is None:
            self._is_untold = True
            log.info("The brokers tell no ids of topics (before Kafka 2.8): a topic that is made anew is not noticed")
        there = {name: state for name, state in (states or {}).items() if not state.error}
        if any(state.partitions != _known(client, name) for name, state in there.items()):
            await asyncio.wait({client.force_metadata_update()}, timeout=WITHIN_S)
        return {name: state.id for name, state in there.items() if state.id is not None}

    async def look(self, consumer: Any, topics: Collection[str]) -> None:
        """Look once. What a new topic means is decided where an assignment begins, so one is asked for."""
        if self._is_untold:
            return
        client = consumer._client  # noqa: SLF001 - as above
        try:
            async with asyncio.timeout(WITHIN_S):
                states = await ask_for_topics(client, topics)
        except (KafkaError, OSError):
            return  # others that need a broker report it
        for name, state in (states or {}).items():
            there = state.partitions if not state.error else 0
            if state.error in {0, UNKNOWN_TOPIC} and there != _known(client, name):
                client.force_metadata_update()  # the group hears of it from there
            if not there and state.error in {0, UNKNOWN_TOPIC}:
                self.absences.missed(name)
            was = self.ids.get(name)
            if state.error or state.id is None or was is None or state.id in {was, self._joining_for}:
                continue
            self._joining_for = state.id
            self.absences.missed(name)
            log.warning(
                "A topic was made anew under its name: joining the group again to begin at its start", topic=name
            )
            consumer._coordinator.request_rejoin()  # noqa: SLF001
            client.force_metadata_update()


def _known(client: Any, topic: str) -> int:
    """Partitions of the topic by the client's metadata."""
    return len(client.cluster.partitions_for_topic(topic) or ())
