"""Sinks that are killed under load on a real Apache Kafka: what the heir sends again, and what it must not skip."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from aiokafka.protocol.commit import OffsetFetchRequest
from aiokafka.structs import TopicPartition

from pipeline.kafka.cluster.admin import open_admin
from pipeline.kafka.cluster.topic_identity import marked, unmarked
from pipeline.kafka.worker.done_ahead import DoneAhead, Witness, digest_of, parted, rendered

pytestmark = pytest.mark.kafka

INHERITS = "Done beyond the committed offset before this worker began here"
DISTRUSTS = "What was done beyond the committed offset is done again"


SLOW = 150


def backlog(made: Any, total: int) -> list[Any]:
    """Operations of many, and in front of them those of one person who can be served with one for each request."""
    slow = [made.identify_record("cus_slow") for _ in range(SLOW)]
    return slow + [made.event_record(f"cus_{n % 700}", n, pad="x" * 900) for n in range(total)]


async def events(stage: Any, count: int) -> None:
    """Wait until the sandbox has accepted so many events."""
    async with asyncio.timeout(300):
        while stage.stats["events"] < count:  # noqa: ASYNC110 - the sandbox tells nobody
            await asyncio.sleep(0.005)


async def beside(stage: Any) -> tuple[int, str]:
    """The committed offset of the only partition, and the text beside it."""
    group, topic = stage.settings.sink_group, stage.settings.operations_topic
    async with open_admin(stage.settings) as admin:
        answer = await admin._of_group(group, OffsetFetchRequest(group, [(topic, [0])]))
    ((_, ((_, offset, text, _),)),) = answer.topics
    return offset, text


@contextmanager
def unanswered(stage: Any) -> Iterator[None]:
    """The sandbox takes requests, and neither carries them out nor answers."""
    sandbox = stage.server.sandbox
    working, sandbox.config = sandbox.config, replace(sandbox.config, latency_ms=3_600_000)
    try:
        yield
    finally:
        sandbox.config = working


async def noted(stage: Any) -> None:
    """Wait until every event that the sandbox has accepted lies before the offset or in the text beside it."""
    async with asyncio.timeout(300):
        while True:
            offset, text = await beside(stage)
            ahead = parted(unmarked(text)[1])[0]
            beyond = ahead.since(max(offset, SLOW)).bit_count() if ahead else 0
            if max(offset - SLOW, 0) + beyond == stage.stats["events"]:
                return
            await asyncio.sleep(0.02)


async def test_what_lies_beyond_the_offset_is_not_sent_again(make_stage: Any, made: Any) -> None:
    """Two sinks in turn are killed while one person holds the offset back: over 95 % is not sent again."""
    stage = await make_stage({"latency_ms": 20}, partitions=1, customerio_requests_per_second=10)
    total, kills = 60_000, (20_000, 40_000)
    await stage.produce(backlog(made, total))
    for at in kills:
        worker = stage.start(made.PATIENT)
        await events(stage, at)
        with unanswered(stage):  # else a busy machine decides how much is done between the last commit and the kill
            await noted(stage)
            worker.send(signal.SIGKILL)
            await worker.ended()
        offset, text = await beside(stage)
        print(f"killed at {stage.stats['events']}, committed {offset}, {len(text)} characters beside it")  # noqa: T201
    heir = stage.start(made.PATIENT)
    await heir.says(INHERITS)
    await stage.done()
    stats = stage.stats
    print({key: stats[key] for key in ("requests", "events", "duplicates", "order_violations")})  # noqa: T201 - counts
    assert (stats["events"], stats["order_violations"]) == (total, 0)
    assert stats["duplicates"] <= 0.05 * max(kills)
    assert await heir.stop() == 0
    assert parted(unmarked((await beside(stage))[1])[1])[0] is None


Forge = Callable[[DoneAhead, str], str]

FOREIGN: dict[str, Forge] = {
    "of another offset": lambda ahead, topic: marked(topic, rendered(_with(ahead, base=ahead.base - 1), 4000)),
    "of another topic": lambda ahead, _: marked("AAAAAAAAAAAAAAAAAAAAAA", rendered(ahead, 4000)),
    "of no topic": lambda ahead, _: rendered(ahead, 4000),
    "of a log that was cut": lambda ahead, topic: marked(
        topic, rendered(_with(ahead, witness=Witness(ahead.witness.offset, ahead.witness.digest ^ 1)), 4000)
    ),
    "of a longer log": lambda ahead, topic: marked(
        topic, rendered(_with(ahead, witness=Witness(10**9, ahead.witness.digest)), 4000)
    ),
    "broken": lambda ahead, topic: marked(topic, rendered(ahead, 4000).replace("done:", "done:x")),
    "somebody else's": lambda _ahead, _topic: '{"version": 3}',
    "empty": lambda _ahead, _topic: "",
}


def _with(ahead: DoneAhead, base: int | None = None, witness: Witness | None = None) -> DoneAhead:
    return DoneAhead(ahead.base if base is None else base, ahead.bits, witness or ahead.witness)


@pytest.mark.parametrize("forge", FOREIGN.values(), ids=FOREIGN.keys())
async def test_what_does_not_fit_the_log_counts_for_nothing(make_stage: Any, made: Any, forge: Forge) -> None:
    """A text beside the offset that is not of this offset, topic and log lets nothing be passed over."""
    stage = await make_stage({"latency_ms": 20}, partitions=1)
    number = 300
    places = await stage.produce([made.event_record(f"cus_{n % 7}", n) for n in range(number)])
    worker = stage.start()
    await stage.done()
    assert await worker.stop() == 0
    offset, text = await beside(stage)
    topic_id = unmarked(text)[0]
    assert topic_id is not None
    group, tp = stage.settings.sink_group, TopicPartition(stage.settings.operations_topic, 0)
    more = await stage.produce([made.event_record(f"cus_{n % 7}", n) for n in range(number, 2 * number)])
    assert (places[0].offset, more[0].offset, offset) == (0, number, number)
    ahead = DoneAhead(offset, (1 << number) - 1, Witness(more[-1].offset, await _digest(stage, more[-1].offset)))
    async with open_admin(stage.settings) as admin:
        await admin.note(group, {tp: (offset, forge(ahead, topic_id))})
    heir = stage.start()
    await stage.done()
    from_start = forge is FOREIGN["of another topic"]  # then the offset itself counts for nothing
    assert (stage.stats["events"], stage.stats["duplicates"]) == (2 * number, number if from_start else 0)
    assert INHERITS not in heir.text
    assert (DISTRUSTS in heir.text) == (forge in (FOREIGN["of a log that was cut"], FOREIGN["of a longer log"]))


async def _digest(stage: Any, offset: int) -> int:
    tp = TopicPartition(stage.settings.operations_topic, 0)
    async with stage._reader() as consumer:
        consumer.assign([tp])
        consumer.seek(tp, offset)
        record = await consumer.getone()
    return digest_of(record)
