"""Whatever lies in the operations topic of a real Apache Kafka, the sink delivers what is there for it and goes on."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from pipeline.kafka.records import text_header
from tests.admin import until_done
from tests.kafka.record_bytes import CODECS, GZIP, batch, put, wire

pytestmark = pytest.mark.kafka


async def test_any_bytes(make_stage: Any, made: Any) -> None:
    """Operations of every codec arrive in order, aborted ones do not; one with a header whose name is not UTF-8 is a
    dead letter with its place, and a restart goes on."""  # noqa: D205, D209 - one promise
    stage = await make_stage(partitions=1)
    settings = stage.settings
    expected: list[int] = []
    for number, codec in enumerate(CODECS):
        records = [wire(made.event_record("cus_1", 10 * number + one)) for one in range(10)]
        expected += range(10 * number, 10 * number + 10)
        await put(settings.kafka_bootstrap_servers, settings.operations_topic, batch(0, *records, compression=codec))
    odd = wire(made.event_record("cus_1", 998), b"\xff\xfe")
    around = [wire(made.event_record("cus_1", number)) for number in (50, 51)]
    frame = batch(0, around[0], odd, around[1], compression=GZIP)
    place = await put(settings.kafka_bootstrap_servers, settings.operations_topic, frame) + 1
    async with AIOKafkaProducer(
        bootstrap_servers=settings.kafka_bootstrap_servers, transactional_id=f"t-{uuid.uuid4().hex[:8]}"
    ) as producer:
        for commits, number in ((False, 997), (True, 52), (False, 999)):
            record = made.event_record("cus_1", number)
            await producer.begin_transaction()
            await producer.send_and_wait(settings.operations_topic, record.value, record.key)
            await (producer.commit_transaction() if commits else producer.abort_transaction())
        worker = stage.start()
        await until_done(settings, settings.sink_group, settings.operations_topic, worker.alive, offsets={0: 59})
    assert stage.numbers == [*expected, 50, 51, 52]
    (letter,) = await stage.dead_letters()
    told = [text_header(letter.headers, f"dlq-{name}") for name in ("source", "class", "reason")]
    assert told == [
        f"{settings.operations_topic}/0/{place}",
        "unreadable",
        "the name of a header is not UTF-8: \\xff\\xfe",
    ]
    assert (letter.key, letter.value) == (odd.key, odd.value)
    assert await worker.series("dodo_cio_seeks_back_total") == 0
    assert await worker.stop() == 0
    worker = stage.start()
    await stage.produce([made.event_record("cus_1", 53)])
    await until_done(settings, settings.sink_group, settings.operations_topic, worker.alive, offsets={0: 60})
    assert stage.numbers == [*expected, 50, 51, 52, 53]
    assert len(await stage.dead_letters()) == 1
    assert await worker.stop() == 0
