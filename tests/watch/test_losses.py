"""Lost records are said by every worker that has their partition, until somebody knows of them."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import RecordsToDelete
from aiokafka.structs import TopicPartition
from faust.types import TP

from pipeline.kafka.cluster.admin import open_admin
from pipeline.kafka.cluster.lag import ConsumedTopic
from pipeline.kafka.cluster.lag_reader import read_lag
from pipeline.kafka.cluster.losses import ACKNOWLEDGED, ledger_of, read_loss
from pipeline.kafka.events import GapSeen, LogRestarted, RebalanceEnded
from pipeline.kafka.worker.app import BatchApp
from pipeline.kafka.worker.log_bounds import LogBounds
from pipeline.settings import Settings
from pipeline.watch import losses as losses_module
from pipeline.watch.losses import Losses
from tests.admin import admin_client
from tests.transform.test_reading import series, until_committed
from tests.transform.test_worker import (
    ChainSettings,
    Start,
    payments,
    produce,
    read_all,
    start,  # noqa: F401 - a fixture
)

DAY_MS = 86_400_000


@pytest.fixture
async def losses(tmp_path: Path) -> Losses:
    """Of an app that is not started."""
    app = BatchApp(
        "g", settings=Settings.load(data_dir=tmp_path), batch_topics=["webhooks"], stage="transform", debug=False
    )
    return Losses(app, now_ms=lambda: 1_800_000_000_000)


def said(losses: Losses) -> str:
    """What `/ready` would add."""
    return losses.text or ""


async def test_what_was_lost_is_said_in_one_line(losses: Losses) -> None:
    """How many, where, and how to say that one knows."""
    assert said(losses) == ""
    losses(GapSeen("webhooks", 3, 10, 17))
    losses(GapSeen("webhooks", 3, 10, 17))
    assert "LOST: 7 records of webhooks/3 were deleted" in said(losses)
    assert "dodo-cio lag --acknowledge" in said(losses)
    losses(GapSeen("webhooks", 5, 0, 2))
    assert "LOST: 9 records of webhooks/3 and 1 more partitions" in said(losses)


async def test_only_of_what_is_ours(losses: Losses) -> None:
    """A partition that went, or that was made anew, is not this worker's to speak of."""
    losses(GapSeen("webhooks", 3, 10, 17))
    losses(GapSeen("webhooks", 4, 10, 17))
    losses(RebalanceEnded(2, frozenset({TP("webhooks", 4)}), 0.1))
    assert "webhooks/4 were" in said(losses)
    losses(LogRestarted("webhooks", 4, 17, 0))
    assert said(losses) == ""


async def test_an_acknowledgement_is_heard_by_whoever_runs(losses: Losses, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a worker met lies in the ledger after a look; once it is acknowledged there, the next look ends it."""
    ledger: dict[TopicPartition, tuple[int, str]] = {}

    class Ledger:
        """Offsets of a group without members."""

        async def noted(self, group: str, _: object) -> dict[TopicPartition, tuple[int, str] | None]:
            assert group == ledger_of("g")
            return dict(ledger)

        async def note(self, group: str, notes: dict[TopicPartition, tuple[int, str]]) -> None:
            assert group == ledger_of("g")
            ledger.update(notes)

    @asynccontextmanager
    async def opened(*_: object, **__: object) -> AsyncIterator[Ledger]:
        yield Ledger()

    async def log_bounds() -> dict[TP, LogBounds]:
        return {}

    monkeypatch.setattr(losses_module, "open_admin", opened)
    app, tp = losses._app, TopicPartition("webhooks", 3)
    app.membership.attach(SimpleNamespace(generation=1, partitions_total=lambda _: 4))
    app.membership.resume(1, frozenset({TP(*tp)}))
    app.consumer = cast("Any", SimpleNamespace(log_bounds=log_bounds, emptied=lambda _: None))
    losses(GapSeen("webhooks", 3, 10, 17))
    await losses.look()
    assert read_loss(*ledger[tp]).records == 7
    assert "LOST: 7 records of webhooks/3" in said(losses)
    ledger[tp] = (17, ACKNOWLEDGED)
    losses._read_at = float("-inf")  # a minute passes
    await losses.look()
    assert said(losses) == ""
    losses(GapSeen("webhooks", 3, 20, 22))
    assert "LOST: 2 records of webhooks/3" in said(losses)


async def delete_before(settings: Settings, offsets: dict[int, int]) -> None:
    """What retention does to the webhooks topic."""
    async with admin_client(settings) as admin:
        await admin.delete_records(
            {
                TopicPartition(settings.webhooks_topic, number): RecordsToDelete(before_offset=offset)
                for number, offset in offsets.items()
            }
        )


async def send(settings: Settings, partition: int, count: int) -> None:
    """Webhooks into one partition."""
    async with AIOKafkaProducer(bootstrap_servers=settings.kafka_bootstrap_servers) as producer:
        for one in payments(partition * 100, count):
            await producer.send_and_wait(
                settings.webhooks_topic, one.value, key=one.key, headers=list(one.headers), partition=partition
            )


@pytest.mark.kafka
async def test_lost_on_kafka(
    start: Start,  # noqa: F811 - the fixture
    chain_settings: ChainSettings,
    environment: Callable[[Settings], dict[str, str]],
) -> None:
    """A log that was emptied, one that begins later, one that the group never had a record of, and one that is whole:
    each loss is a warning with its place, a series, and a word in `/ready` and `lag`; a restart still says so, and an
    acknowledgement ends it."""  # noqa: D205, D209 - one promise
    settings = await chain_settings(partitions=4, state=False)
    for partition in (0, 1, 3):
        await send(settings, partition, 3)
    worker = start(settings)
    await until_committed(settings, worker, 3, 3, 0, 3)  # the one without a record, too
    assert await worker.stop() == 0, worker.log.read_text()
    for partition, count in ((0, 5), (1, 5), (2, 4), (3, 2)):
        await send(settings, partition, count)
    await delete_before(settings, {0: 8, 1: 6, 2: 4})

    rows = await read_lag(settings, [ConsumedTopic(settings.transform_group, settings.webhooks_topic)])
    assert [row.lost for row in rows] == [5, 3, 4, 0]  # before any worker has seen it
    worker = start(settings)
    await worker.answers("/ready", "LOST: 12 records of")
    await until_committed(settings, worker, 8, 8, 4, 5)
    assert await series(worker, "dodo_cio_records_lost_total") == 12
    lines = worker.lines()
    told = {
        (line["partition"], line["records"]) for line in lines if line.get("message", "").startswith("Records are lost")
    }
    assert told == {(0, 5), (1, 3), (2, 4)}
    assert {line["level"] for line in lines if line.get("message", "").startswith("Records are lost")} == {"warning"}

    async def ledger() -> list[int | None]:
        rows = await read_lag(settings, [ConsumedTopic(settings.transform_group, settings.webhooks_topic)])
        return [row.lost for row in rows]

    async with asyncio.timeout(120):
        while await ledger() != [5, 3, 4, 0]:  # noqa: ASYNC110 - the worker writes it down
            await asyncio.sleep(0.1)
    assert await worker.stop() == 0, worker.log.read_text()

    worker = await start(settings).ready()
    await worker.answers("/ready", "LOST: 12 records of")
    assert await series(worker, "dodo_cio_records_lost_total") == 0  # it lost none itself
    code, out = await acknowledged(environment(settings))
    assert (code, "12 lost records are acknowledged" in out) == (0, True)
    assert await ledger() == [0, 0, 0, 0]
    code, out = await acknowledged(environment(settings))
    assert (code, "0 lost records are acknowledged" in out) == (0, True)
    assert await worker.stop() == 0, worker.log.read_text()
    worker = await start(settings).ready()
    await produce(settings, payments(900, 3))
    async with asyncio.timeout(120):
        while "assigned" not in (text := (await worker.get("/ready")).text):  # noqa: ASYNC110 - asked for by HTTP
            await asyncio.sleep(0.1)
    assert "LOST" not in text


async def acknowledged(environ: dict[str, str]) -> tuple[int | None, str]:
    """`dodo-cio lag --acknowledge`: exit code and output."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pipeline", "lag", "--acknowledge"), env=environ, stdout=PIPE
    )
    out, _ = await process.communicate()
    return process.returncode, out.decode()


@pytest.mark.kafka
async def test_what_compaction_took_is_no_loss(
    start: Start,  # noqa: F811 - the fixture
    chain_settings: ChainSettings,
) -> None:
    """Records that a newer one of the same key took the place of leave gaps, and nobody hears of a loss."""
    settings = await chain_settings(partitions=1, state=False)
    compacting = {
        "cleanup.policy": "compact",
        "segment.ms": "100",
        "min.cleanable.dirty.ratio": "0.001",
        "max.compaction.lag.ms": "1",
        "min.compaction.lag.ms": "0",
    }
    async with open_admin(settings) as admin:
        await admin.set_configs(settings.webhooks_topic, compacting)
    (one,) = payments(0, 1)
    async with AIOKafkaProducer(bootstrap_servers=settings.kafka_bootstrap_servers) as producer:

        async def put() -> int:
            sent = await producer.send_and_wait(
                settings.webhooks_topic, one.value, key=one.key, headers=list(one.headers), partition=0
            )
            return int(sent.offset)

        async def first() -> int:
            (record, *_) = await _records(settings)
            return record

        last = await put()
        async with asyncio.timeout(180):
            while await first() == 0:
                last = await put()
                await asyncio.sleep(0.3)
        worker = start(settings)
        await until_committed(settings, worker, last + 1)
        assert await series(worker, "dodo_cio_records_lost_total") == 0
        assert "LOST" not in (await worker.get("/ready")).text


async def _records(settings: Settings) -> list[int]:
    return [record.offset for record in await read_all(settings, settings.webhooks_topic)]
