"""Looks at both groups four times a second, with clients of the test's own; what cannot be seen is left out."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from tests.chaos.season.record import Place, Sample, Stage

PAUSE_S: Final = 0.25
ANSWER_WITHIN_S: Final = 3.0
"""A broker that is dead or frozen must not keep us from asking the others."""


class Group(NamedTuple):
    """Of a stage: who reads what."""

    group: str
    topic: str


class Watch:
    """Samples of both groups, while its context lasts.

    Args:
        bootstrap_servers: of the brokers.
        groups: by stage.
        partitions: of each stage's topic; whoever adds some says so here.
    """

    def __init__(self, bootstrap_servers: str, groups: Mapping[Stage, Group], partitions: dict[Stage, int]) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._groups = groups
        self.partitions = partitions
        self.samples: list[Sample] = []
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._watch())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait({self._task})

    async def look(self) -> None:
        """Wait until both groups were looked at once more, in every partition.

        Raises:
            AssertionError: nobody tells.
        """
        since, until = len(self.samples), time.monotonic() + 60
        while time.monotonic() < until:
            seen = {one.stage for one in self.samples[since:] if len(one.places) == self.partitions[one.stage]}
            if seen == set(self._groups):
                return
            await asyncio.sleep(PAUSE_S)
        raise AssertionError("the brokers do not tell where the groups are")

    async def _watch(self) -> None:
        while True:
            with contextlib.suppress(KafkaError, OSError, TimeoutError):
                async with self._clients() as (consumer, admin):
                    while True:
                        await self._sample(consumer, admin)
                        await asyncio.sleep(PAUSE_S)
            await asyncio.sleep(PAUSE_S)

    async def _sample(self, consumer: Any, admin: Any) -> None:
        for stage, (group, topic) in self._groups.items():
            partitions = [TopicPartition(topic, number) for number in range(self.partitions[stage])]
            async with asyncio.timeout(ANSWER_WITHIN_S):
                # First where the group is: the other way round it could be beyond the end.
                offsets = await admin.list_consumer_group_offsets(group, partitions=partitions)
                ends = await consumer.end_offsets(partitions)
            places = {tp.partition: Place(max(offsets[tp].offset, 0), end) for tp, end in ends.items() if tp in offsets}
            self.samples.append(Sample(time.time(), stage, places))

    @asynccontextmanager
    async def _clients(self) -> AsyncIterator[tuple[Any, Any]]:
        options = {"bootstrap_servers": self._bootstrap_servers, "request_timeout_ms": int(ANSWER_WITHIN_S * 1000)}
        consumer = AIOKafkaConsumer(**options, group_id=None, metadata_max_age_ms=5_000)
        admin = AIOKafkaAdminClient(**options)
        try:
            await consumer.start()
            await admin.start()
            yield consumer, admin
        finally:
            await consumer.stop()
            await admin.close()
