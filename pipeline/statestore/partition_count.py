"""Checks the number of partitions: it must be the one under which the facts were written.

Under another number nearly every customer has another owner, who knows nothing of them. So each partition of the
customers' topic holds in its `BEGAN` record under how many its facts were written, `dodo-cio state repartition` moves
them, and nobody decides a webhook in between.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import orjson

from pipeline import logs
from pipeline.errors import PipelineError, TopicError
from pipeline.kafka.cluster.admin import open_admin
from pipeline.kafka.cluster.topics import check_topics
from pipeline.settings import PREFIX, Settings
from pipeline.tasks import BackgroundTask, OnEnd, Tasks

LOOK_S: Final = 15.0
"""How often the brokers are asked: a worker under which the topic grew ends within a minute, with the answer's time and
the last commit. A client notices by itself only with its metadata, after five."""

PATIENCE_S: Final = 5.0
"""For an answer; the next look comes soon."""

MOVING: Final = 0
"""In place of a number: the facts are on their way to other partitions."""

REPARTITION: Final = "`dodo-cio state repartition`"

WATCH: Final = BackgroundTask("partition watch", OnEnd.CRASH)

log = logs.get(__name__)


def began_value(at_ms: int, random: str, partitions: int) -> bytes:
    """A `BEGAN` record's value: when the state began, a random part that makes it unique, how many partitions."""
    return orjson.dumps([at_ms, random, partitions])


def began_fact(value: bytes) -> tuple[int | None, str, int | None]:
    """The same read: unix milliseconds, the random part, the number of partitions, None where the record has none."""
    try:
        fact = orjson.loads(value)
    except orjson.JSONDecodeError:
        return None, "", None
    if type(fact) is not list:
        return None, "", None
    at_ms, random, partitions = (*fact, None, None, None)[:3]
    return (
        at_ms if type(at_ms) is int else None,
        random if type(random) is str else "",
        partitions if type(partitions) is int else None,
    )


def check_written(settings: Settings, value: bytes, partitions: int) -> None:
    """Compare a `BEGAN` record with the number of partitions that there are.

    Raises:
        TopicError: they differ.
    """
    written = began_fact(value)[2]
    if written == partitions:
        return
    now = f"topic {settings.webhooks_topic} has {partitions} partitions"
    match written:
        case None:
            why = f"{settings.customers_topic} does not say under how many the customers' facts were written"
        case 0:
            why = f"the move of the customers' facts in {settings.customers_topic} was not brought to its end"
        case _:
            why = f"the customers' facts in {settings.customers_topic} were written under {written}"
    raise TopicError(
        f"{now}, and {why}: totals would begin anew. Keep every transform of group {settings.transform_group} stopped "
        f"and move the facts to their owners: {REPARTITION}"
    )


def check_equal(settings: Settings, webhooks: int, customers: int) -> None:
    """Compare the two topics.

    Raises:
        TopicError: their numbers of partitions differ.
    """
    if webhooks != customers:
        raise TopicError(
            f"topic {settings.customers_topic} has {customers} partitions and {settings.webhooks_topic} has "
            f"{webhooks}: they must be equal, the facts of partition n's customers lie in partition n. See `dodo-cio "
            f"topics plan`, then `dodo-cio topics apply` and {REPARTITION}; or run without the customers' state "
            f"({PREFIX}STATE=false)"
        )


async def partitions_now(settings: Settings) -> int:
    """How many partitions the webhooks have, and the facts as well.

    Raises:
        TopicError: a topic is missing, or they have not the same number.
        BrokerUnreachableError: no broker answered.
    """
    found = await check_topics(settings, (settings.webhooks_topic, settings.customers_topic))
    check_equal(settings, found[settings.webhooks_topic], found[settings.customers_topic])
    return found[settings.webhooks_topic]


class PartitionWatch:
    """Notices that the webhooks' topic has another number of partitions than when the state was restored.

    Args:
        settings: where the brokers are.
        known: the number under which partitions of this worker were restored; None: it has none, or the brokers are
            away.
        tasks: runs it, and ends the worker with what it found.
    """

    def __init__(self, settings: Settings, known: Callable[[], int | None], tasks: Tasks) -> None:
        self._settings = settings
        self._known = known
        self._tasks = tasks

    async def start(self) -> None:
        """Begin to look."""
        self._tasks.start(WATCH, self._watch)

    async def stop(self) -> None:
        """Look no more."""
        await self._tasks.stop()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            if (known := self._known()) is not None:
                await self._look(known)

    async def _look(self, known: int) -> None:
        topic = self._settings.webhooks_topic
        try:
            async with open_admin(self._settings, patience_s=PATIENCE_S) as admin:
                now = await admin.partitions([topic])
        except PipelineError as error:
            log.debug("The number of partitions is not known at the moment", topic=topic, error=str(error))
            return  # other parts report brokers that are away
        partitions = now.get(topic, (0, 0))[0]
        if partitions > known:
            check_written(self._settings, began_value(0, "", known), partitions)
