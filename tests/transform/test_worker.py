"""The transform as it is run, on a real Apache Kafka: webhooks in, operations and dead letters out."""

from __future__ import annotations

import asyncio
import hashlib
import signal
import socket
import sys
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from zlib import adler32

import orjson
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.structs import RecordMetadata
from prometheus_client.parser import text_string_to_metric_families

from pipeline.dodo import samples
from pipeline.dodo.envelope import kafka_key, parse
from pipeline.kafka.cluster.topics import check_topics
from pipeline.kafka.local.broker import free_port
from pipeline.kafka.records import OutRecord, text_header
from pipeline.settings import Settings
from pipeline.transform.mapping import map_webhook
from pipeline.transform.policy import Policy
from pipeline.transform.verdicts import DeadLettered, Delivery, Dropped, Operations
from pipeline.transform.webhook import Webhook
from tests.admin import until_done
from tests.kafka import growth
from tests.workers import WorkerProcess

pytestmark = pytest.mark.kafka

ChainSettings = Callable[..., Awaitable[Settings]]

RECEIVED_AT_MS = 1_767_225_600_123
ATTEMPT_S = 1_767_225_600


DODO_CIO = (sys.executable, "-m", "pipeline", "transform")
FAUST = (sys.executable, "-m", "faust", "-A", "pipeline.transform.app", "worker", "--without-web")


Start = Callable[..., WorkerProcess]


@pytest.fixture
def start(tmp_path: Path, environment: Callable[[Settings], dict[str, str]]) -> Iterator[Start]:
    """`start(settings, command=DODO_CIO, **environ)` starts a worker; whatever still runs at the end is killed."""
    workers: list[WorkerProcess] = []

    def begin(settings: Settings, command: Sequence[str] = DODO_CIO, **environ: str) -> WorkerProcess:
        variables = {**environment(settings), "PIPELINE_LOG_FORMAT": "json", **environ}
        worker = WorkerProcess(command, variables, tmp_path / f"worker-{len(workers)}.log")
        workers.append(worker)
        return worker

    yield begin
    for worker in workers:
        worker.kill()


async def produce(settings: Settings, records: Sequence[OutRecord]) -> list[RecordMetadata]:
    """Put records into the webhooks topic, as ingest would; the place of each, once all are durable."""
    producer = AIOKafkaProducer(
        bootstrap_servers=settings.kafka_bootstrap_servers, enable_idempotence=True, linger_ms=5
    )
    await producer.start()
    try:
        sends = [
            await producer.send(
                settings.webhooks_topic,
                key=record.key,
                value=record.value,
                headers=list(record.headers),
            )
            for record in records
        ]
        return await asyncio.gather(*sends)
    finally:
        await producer.stop()


def source(place: RecordMetadata) -> str:
    """`topic/partition/offset`."""
    return f"{place.topic}/{place.partition}/{place.offset}"


async def read_all(settings: Settings, topic: str) -> list[ConsumerRecord[bytes, bytes]]:
    """Every record that the topic holds now, by partition and offset."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka_bootstrap_servers,
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=16 * 1024 * 1024,
    )
    await consumer.start()
    try:
        partitions = (await check_topics(settings, [topic]))[topic]
        tps = [TopicPartition(topic, number) for number in range(partitions)]
        consumer.assign(tps)
        ends = await consumer.end_offsets(tps)
        records: list[ConsumerRecord[bytes, bytes]] = []
        left = {tp for tp in tps if ends[tp]}
        while left:
            for found in (await consumer.getmany(*left, timeout_ms=500)).values():
                records += found
            left = {tp for tp in left if await consumer.position(tp) < ends[tp]}
    finally:
        await consumer.stop()
    return sorted(records, key=lambda record: (record.partition, record.offset))


def webhook(number: int, body: bytes, *more: tuple[str, bytes]) -> OutRecord:
    """The record that ingest would write for `body`."""
    webhook_id = f"msg_{number:06d}"
    return OutRecord(
        kafka_key(parse(body), webhook_id),
        body,
        (
            ("webhook-id", webhook_id.encode()),
            ("webhook-timestamp", b"%d" % ATTEMPT_S),
            ("received-at", b"%d" % RECEIVED_AT_MS),
            *more,
        ),
    )


def payments(first: int, count: int, customers: int = 40) -> list[OutRecord]:
    """Payments of so many customers in turn, each with an identify and an event to send."""
    body = orjson.loads(samples.load("payment.succeeded"))
    records = []
    for number in range(first, first + count):
        body["data"]["payment_id"] = f"pay_{number:06d}"
        body["data"]["customer"]["customer_id"] = f"cus_{number % customers:04d}"
        records.append(webhook(number, orjson.dumps(body)))
    return records


def partition_of(key: bytes, partitions: int) -> int:
    """The partition that aiokafka's own port of Java's partitioner gives to `key`."""
    everywhere = list(range(partitions))
    return int(DefaultPartitioner()(key, everywhere, everywhere))


async def test_every_sample(start: Start, chain_settings: ChainSettings) -> None:
    """Each sample webhook ends as exactly the records that the mapping decides, at their place and in order."""
    settings = await chain_settings(partitions=3, state=False)
    policy = Policy.of(settings)
    bodies = [samples.load(name) for name in samples.names()]
    records = [webhook(number, body) for number, body in enumerate(bodies)]
    sources = [source(place) for place in await produce(settings, records)]

    operations: dict[bytes, list[tuple[bytes, tuple[tuple[str, bytes], ...]]]] = defaultdict(list)
    letters: dict[str, tuple[OutRecord, DeadLettered]] = {}
    dropped = 0
    for record, origin, body in zip(records, sources, bodies, strict=True):
        envelope = parse(body)
        webhook_id = text_header(record.headers, "webhook-id") or ""
        delivery = Delivery(webhook_id, ATTEMPT_S, RECEIVED_AT_MS)
        match map_webhook(Webhook(envelope, delivery), policy):
            case Operations() as verdict:
                for operation in verdict.operations:
                    word = b"%d:%x" % (len(operation.body), adler32(operation.body))
                    headers = [
                        ("checked", word + b":more" if operation.barrier else word),
                        ("op-id", operation.op_id.encode()),
                        ("webhook-id", webhook_id.encode()),
                        ("dodo-type", envelope.type.encode()),
                        ("event-time", b"%d" % verdict.event_time_ms),
                        ("received-at", b"%d" % RECEIVED_AT_MS),
                        ("source", origin.encode()),
                    ]
                    if operation.barrier:
                        headers.append(("barrier", b"1"))
                    operations[verdict.person_key].append((operation.body, tuple(headers)))
            case DeadLettered() as letter:
                letters[origin] = (record, letter)
            case Dropped():
                dropped += 1
    assert operations
    assert letters
    assert dropped

    worker = start(settings)
    await until_done(settings, settings.transform_group, settings.webhooks_topic, worker.alive)
    metrics = (await worker.get("/metrics")).text
    assert await worker.stop() == 0, worker.log.read_text()

    out = await read_all(settings, settings.operations_topic)
    found: dict[bytes, list[tuple[bytes, tuple[tuple[str, bytes], ...]]]] = defaultdict(list)
    for record in out:
        assert record.partition == partition_of(record.key, 3)
        found[record.key].append((record.value, tuple(record.headers)))
    assert found == operations

    dead = {
        text_header(record.headers, "dlq-source"): record
        for record in await read_all(settings, settings.dead_letters_topic)
    }
    assert dead.keys() == letters.keys()
    for origin, (record, letter) in letters.items():
        assert (dead[origin].key, dead[origin].value) == (record.key, record.value)
        assert tuple(dead[origin].headers[: len(record.headers)]) == record.headers
        ours = dict(dead[origin].headers[len(record.headers) :])
        assert ours.pop("dlq-at").isdigit()
        assert ours.pop("dlq-reason") == letter.reason.encode()
        assert ours == {
            "dlq-stage": b"transform",
            "dlq-class": letter.class_.encode(),
            "dlq-source": origin.encode(),
            "dlq-attempts": b"1",
            "dlq-replays": b"0",
            **({"dlq-field": letter.field.encode()} if letter.field else {}),
        }
    assert counted(metrics, "dodo_cio_webhooks") == {
        "operations": len(bodies) - len(letters) - dropped,
        "dropped": dropped,
        "dead_letter": len(letters),
    }


def counted(metrics: str, name: str) -> dict[str, int]:
    """Webhooks by outcome, as the metrics count them."""
    counts: dict[str, int] = defaultdict(int)
    for family in text_string_to_metric_families(metrics):
        if family.name == name:
            for sample in family.samples:
                counts[sample.labels["outcome"]] += int(sample.value)
    return dict(counts)


async def test_records_of_other_feeders(start: Start, chain_settings: ChainSettings) -> None:
    """Headers in any case or none, tombstones, commands, unknown modes, any bytes: each has its place."""
    settings = await chain_settings(partitions=1, state=False)
    body = samples.load("payment.succeeded")
    odd: list[tuple[OutRecord, str | None]] = [
        (
            OutRecord(
                b"k", body, (("Webhook-Id", b"msg_upper"), ("DODO-MODE", b"Live"), ("Received-At", b"5000000000000"))
            ),
            None,
        ),
        (OutRecord(None, body), None),
        (OutRecord(b"k", None), "unreadable"),
        (OutRecord(b"k", b"\xff\x00"), "unreadable"),
        (OutRecord(None, b"{}"), "unreadable"),
        (OutRecord(b"k", body, (("dodo-command", b"forget"),)), "unmappable"),
        (OutRecord(b"k", body, (("dodo-mode", b"staging"),)), "unmappable"),
        (OutRecord(b"k", body, (("webhook-id", b"m" * 300),)), "unmappable"),
        (
            OutRecord(b"k", samples.load("unknown.future_event"), (("dlq-replays", b"3"), ("dlq-reason", b"old"))),
            "unknown-type",
        ),
        (OutRecord(b"k", body, (("dodo-mode", b"test"),)), None),
        (webhook(1, body), None),
    ]
    places = await produce(settings, [record for record, _ in odd])
    worker = start(settings)
    await until_done(settings, settings.transform_group, settings.webhooks_topic, worker.alive)
    assert await worker.stop() == 0

    dead = await read_all(settings, settings.dead_letters_topic)
    assert [
        (text_header(r.headers, "dlq-source"), text_header(r.headers, "dlq-class"), r.key, r.value) for r in dead
    ] == [
        (source(place), class_, record.key, record.value)
        for place, (record, class_) in zip(places, odd, strict=True)
        if class_
    ]
    replayed = dead[[class_ for _, class_ in odd if class_].index("unknown-type")]
    assert text_header(replayed.headers, "dlq-replays") == "3"
    assert [v for n, v in replayed.headers if n == "dlq-reason"] != [b"old"]

    out = await read_all(settings, settings.operations_topic)
    ids = [(text_header(r.headers, "webhook-id"), text_header(r.headers, "received-at")) for r in out]
    hashed = f"sha256_{hashlib.sha256(body).hexdigest()}"
    assert list(dict.fromkeys(ids)) == [
        ("msg_upper", "5000000000000"),
        (hashed, str(places[1].timestamp)),
        ("msg_000001", str(RECEIVED_AT_MS)),
    ]


async def test_a_fact_that_its_topic_would_refuse(start: Start, chain_settings: ChainSettings) -> None:
    """Two webhooks whose texts add up to more than a record may have: the second is a dead letter, and all go on."""
    settings = await chain_settings(partitions=1, metadata_keys=("a", "b"))
    body = orjson.loads(samples.load("payment.succeeded"))
    records = []
    for number, metadata in enumerate(({"a": "x" * 180_000}, {"b": "x" * 900_000}, {"a": "y"})):
        body["data"] |= {"payment_id": f"pay_{number}", "customer": {**body["data"]["customer"], "metadata": metadata}}
        records.append(webhook(number, orjson.dumps(body)))
    await produce(settings, records)
    worker = start(settings)
    await until_done(settings, settings.transform_group, settings.webhooks_topic, worker.alive)
    assert await worker.stop() == 0
    dead = await read_all(settings, settings.dead_letters_topic)
    assert [(text_header(one.headers, "dlq-class"), one.value) for one in dead] == [("oversize", records[1].value)]
    out = await read_all(settings, settings.operations_topic)
    assert {text_header(one.headers, "webhook-id") for one in out} == {"msg_000000", "msg_000002"}


def first_deliveries(records: Iterable[Any]) -> dict[bytes, list[str]]:
    """Operation ids by key, in the order in which each came for the first time."""
    seen: dict[bytes, dict[str, None]] = defaultdict(dict)
    for record in records:
        seen[record.key][text_header(record.headers, "op-id") or ""] = None
    return {key: list(ids) for key, ids in seen.items()}


def expected(settings: Settings, records: Sequence[OutRecord]) -> dict[bytes, list[str]]:
    """The operation ids of each customer, in the order of their webhooks."""
    ids: dict[bytes, list[str]] = defaultdict(list)
    policy = Policy.of(settings)
    for record in records:
        assert record.value is not None
        webhook_id = text_header(record.headers, "webhook-id") or ""
        delivery = Delivery(webhook_id, ATTEMPT_S, RECEIVED_AT_MS)
        verdict = map_webhook(Webhook(parse(record.value), delivery), policy)
        assert isinstance(verdict, Operations)
        ids[verdict.person_key] += [operation.op_id for operation in verdict.operations]
    return ids


async def test_sigterm_repeats_nothing(start: Start, chain_settings: ChainSettings) -> None:
    """Replicas that come and go by SIGTERM under load hand over cleanly: every operation is there exactly once."""
    settings = await chain_settings(partitions=4, state=False)
    records = payments(0, 6000)
    workers = [await start(settings).ready(), start(settings)]
    for step in range(6):
        await produce(settings, records[step * 1000 : (step + 1) * 1000])
        if step in {1, 3}:
            leaving = await workers.pop(0).ready()
            workers.append(start(settings))
            assert await leaving.stop() == 0, leaving.log.read_text()
    await until_done(settings, settings.transform_group, settings.webhooks_topic, *[one.alive for one in workers])
    assert [await worker.stop() for worker in workers] == [0, 0]
    out = await read_all(settings, settings.operations_topic)
    assert len(out) == 12_000
    assert first_deliveries(out) == expected(settings, records)


async def test_sigkill_loses_nothing(start: Start, chain_settings: ChainSettings) -> None:
    """A replica killed in the middle of its work loses nothing, and each customer's first deliveries stay in order."""
    settings = await chain_settings(partitions=4, state=False)
    records = payments(0, 6000)
    doomed, other = start(settings), start(settings)
    await asyncio.gather(doomed.ready(), other.ready())
    producing = asyncio.create_task(produce(settings, records))
    await doomed.answers("/metrics", "dodo_cio_records_produced_total{")
    assert await doomed.stop(signal.SIGKILL) == -signal.SIGKILL
    await producing
    await until_done(settings, settings.transform_group, settings.webhooks_topic, other.alive)
    assert await other.stop() == 0
    out = await read_all(settings, settings.operations_topic)
    assert len(out) >= 12_000
    assert first_deliveries(out) == expected(settings, records)


@pytest.mark.parametrize("command", [DODO_CIO, FAUST], ids=["dodo-cio", "faust"])
async def test_probes(start: Start, chain_settings: ChainSettings, command: Sequence[str]) -> None:
    """Both ways of starting it answer all probes, count what they did, and end with 0 after SIGTERM."""
    settings = await chain_settings(partitions=2)
    await produce(settings, payments(0, 10))
    worker = await start(settings, command).ready()
    await until_done(settings, settings.transform_group, settings.webhooks_topic, worker.alive)
    assert (await worker.get("/ready")).json() == {"ready": True, "reason": "2 partitions assigned"}
    assert (await worker.get("/live")).json()["live"] is True
    status = (await worker.get("/status")).json()
    assert (status["stage"], status["group"], status["generation"]) == ("transform", settings.transform_group, 1)
    assert (status["delivered"], status["committed"], status["undelivered"], status["uncommitted"]) == (10, 10, 0, 0)
    assert sum(place["committed"] or 0 for place in status["assignment"]) == 10
    metrics = (await worker.get("/metrics")).text
    assert 'dodo_cio_operations_total{kind="event",name="payment_completed"} 10.0' in metrics
    assert f'dodo_cio_records_produced_total{{topic="{settings.operations_topic}"}} 20.0' in metrics
    assert await worker.stop() == 0
    assert "Traceback" not in worker.log.read_text()


NO_PERSON = ({"PIPELINE_PERSON_ID": "nickname"}, 2, "PIPELINE_PERSON_ID: must be a chain of")
NO_FILE = ({"PIPELINE_PRODUCT_NAMES": "/no/names.yaml"}, 2, "PIPELINE_PRODUCT_NAMES: /no/names.yaml cannot be read")
NO_TOPIC = ({"PIPELINE_OPERATIONS_TOPIC": "not.there"}, 2, "topic not.there does not exist")
NO_BROKER = (
    {"PIPELINE_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:PORT"},
    1,
    "no Kafka broker could be used at 127.0.0.1:PORT",
)


@pytest.mark.parametrize(
    ("command", "fault"),
    [
        (DODO_CIO, NO_PERSON),
        (DODO_CIO, NO_FILE),
        (DODO_CIO, NO_TOPIC),
        (DODO_CIO, NO_BROKER),
        (FAUST, NO_FILE),
        (FAUST, NO_TOPIC),
    ],
)
async def test_faults_at_the_start(
    start: Start, chain_settings: ChainSettings, command: Sequence[str], fault: tuple[dict[str, str], int, str]
) -> None:
    """A fault at the start is one message that says what to change, the right exit code, and no traceback."""
    settings = await chain_settings(partitions=1)
    port = str(free_port())
    environ, code, message = fault
    worker = start(settings, command, **{name: value.replace("PORT", port) for name, value in environ.items()})
    assert await worker.ended() == code, worker.log.read_text()
    said = worker.log.read_text()
    assert said.count(message.replace("PORT", port)) == 1, said
    assert "Traceback" not in said


async def test_port_in_use(start: Start, chain_settings: ChainSettings) -> None:
    """A taken health port ends the worker with the setting's name before it joins the group."""
    settings = await chain_settings(partitions=1)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        worker = start(settings, PIPELINE_PORT=str(taken.getsockname()[1]))
        assert await worker.ended() == 2
    said = worker.log.read_text()
    assert "give PIPELINE_PORT another port" in said
    assert "Joined group" not in said
    assert "Traceback" not in said


async def test_the_customers_topic_must_match(start: Start, chain_settings: ChainSettings) -> None:
    """Another number of partitions than the webhooks have ends the worker with what to do; without a state it runs."""
    settings = await chain_settings(partitions=2)
    await growth.grow(settings, 3, settings.customers_topic)
    worker = start(settings)
    assert await worker.ended() == 2
    said = worker.log.read_text()
    assert f"topic {settings.customers_topic} has 3 partitions and {settings.webhooks_topic} has 2" in said
    assert "PIPELINE_STATE=false" in said
    assert "Traceback" not in said
    stateless = await start(settings, PIPELINE_STATE="false").ready()
    assert await stateless.stop() == 0


async def test_a_restore_is_told(start: Start, chain_settings: ChainSettings) -> None:
    """While a long restore runs the worker is not ready and says how far it is; its series count it."""
    settings = await chain_settings(partitions=1)
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka_bootstrap_servers, linger_ms=5)
    await producer.start()
    for number in range(60_000):
        key = b"cus_%06d\0event\0%d" % (number, number)
        await producer.send(settings.customers_topic, b"[1]", key=key, partition=0)
    await producer.stop()
    worker = start(settings)
    told = f"restoring the customers' state: partition 0 of {settings.customers_topic}"
    await asyncio.gather(worker.answers("/ready", told), worker.answers("/status", told))
    await worker.ready()
    assert (await worker.get("/status")).json()["state"] == {
        "restoring": None,
        "partitions": [{"partition": 0, "next_offset": 60_001, "restored": None}],
    }
    metrics = (await worker.get("/metrics")).text
    assert "dodo_cio_restored_records_total 60001.0" in metrics
    assert "dodo_cio_restores_total 1.0" in metrics
    assert "dodo_cio_restore_remaining_records 0.0" in metrics
    await produce(settings, payments(0, 10))
    await until_done(settings, settings.transform_group, settings.webhooks_topic, worker.alive)
    metrics = (await worker.get("/metrics")).text
    assert 'dodo_cio_facts_stored_total{kind="payment"} 10.0' in metrics
    assert 'dodo_cio_mirror_bytes{partition="0"}' in metrics
    assert await worker.stop() == 0
