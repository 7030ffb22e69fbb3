"""Counts what the topics and the sandbox hold after the run; no figure is taken from the stages."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from pipeline.kafka.closing import close
from pipeline.kafka.readers import new_reader
from pipeline.kafka.records import DLQ_CLASS, DLQ_STAGE, header, text_header
from pipeline.plain_httpx import httpx
from pipeline.settings import Settings

_TOTAL = re.compile("total_spent_([a-z]{3})_minor")

PAGE = 5_000
"""Events of the sandbox a request: a few megabytes."""


async def end_offsets(settings: Settings, topic: str) -> dict[TopicPartition, int]:
    """The end of each partition; without a group, so nothing can be committed."""
    consumer = new_reader(settings)
    await consumer.start()
    try:
        partitions = await _partitions(consumer, topic)
        return dict(await consumer.end_offsets(partitions))
    finally:
        await close(consumer)


async def dead_letters(settings: Settings) -> Counter[str]:
    """Dead letters by `stage class`."""
    counted: Counter[str] = Counter()
    consumer = new_reader(settings)
    await consumer.start()
    try:
        partitions = await _partitions(consumer, settings.dead_letters_topic)
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        ends = await consumer.end_offsets(partitions)
        while any([await consumer.position(tp) < end for tp, end in ends.items()]):
            for records in (await consumer.getmany(timeout_ms=200)).values():
                counted.update(
                    f"{text_header(record.headers, DLQ_STAGE)} {text_header(record.headers, DLQ_CLASS)}"
                    for record in records
                    if header(record.headers, DLQ_STAGE)  # a receipt of a replay has none
                )
    finally:
        await close(consumer)
    return counted


async def _partitions(consumer: AIOKafkaConsumer, topic: str) -> list[TopicPartition]:
    await consumer._client.add_topic(topic)  # noqa: SLF001 - the public way to learn of a topic subscribes to it
    numbers: Iterable[int] = consumer.partitions_for_topic(topic) or ()
    return [TopicPartition(topic, number) for number in sorted(numbers)]


class SandboxView:
    """The sandbox's inspection endpoints."""

    def __init__(self, url: str) -> None:
        self._client = httpx.AsyncClient(base_url=url, timeout=30, trust_env=False)

    async def stats(self) -> dict[str, Any]:
        """Counts since the start."""
        return await self._get("/__sandbox/stats")

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """Every accepted event in order of arrival, repeats left out."""
        after: Any = None
        while True:
            parameters = {"limit": PAGE} if after is None else {"limit": PAGE, "after": after}
            page = (await self._get("/__sandbox/events", **parameters))["events"]
            if not page:
                return
            for event in page:
                yield event
            after = page[-1]["seq"]

    async def totals(self) -> dict[str, dict[str, int]]:
        """Person → currency → `total_spent_…_minor`, of everybody who has spent."""
        found: dict[str, dict[str, int]] = {}
        after: str | None = ""
        while after is not None:
            page = await self._get("/__sandbox/people", limit=PAGE, after=after)
            for person in page["people"]:
                if person["id"] is not None and (spent := _totals(person["attributes"])):
                    found[person["id"]] = spent
            after = page["next"]
        return found

    async def profile(self, person_id: str) -> dict[str, Any]:
        """The attributes of one person, the address included."""
        person = await self._get(f"/__sandbox/people/{person_id}")
        return {"email": person["email"], **person["attributes"]}

    async def close(self) -> None:
        """End the connections."""
        await self._client.aclose()

    async def _get(self, path: str, **parameters: Any) -> dict[str, Any]:
        answer = await self._client.get(path, params=parameters)
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found


def _totals(attributes: Mapping[str, Any]) -> dict[str, int]:
    """Currency → minor units, from the attributes of a profile."""
    named = (_TOTAL.fullmatch(name) for name in attributes)
    return {name[1].upper(): attributes[name[0]] for name in named if name}
