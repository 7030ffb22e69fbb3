"""Traces of the running chain on a real Kafka, by the real SDK, at a collector that reads what it is sent."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from pipeline.demo.chain import Chain
from pipeline.dodo import samples
from pipeline.dodo.samples.fresh import fresh
from pipeline.dodo.signature import sign
from pipeline.kafka.cluster.lag_reader import read_lag
from tests.asking import local_client
from tests.kafka.shared import SharedKafka
from tests.telemetry.collector import Collector, Seen, collecting

pytestmark = pytest.mark.kafka

PATIENCE_S = 240.0
KEPT = "0af7651916cd43dd8448eb211c80319c"
NOT_KEPT = "1af7651916cd43dd8448eb211c80319c"
LATER = "2af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
PERSON = "traced-person"


def webhook(type_: str) -> bytes:
    """A sample about a person of this test."""
    body = json.loads(fresh(samples.load(type_), datetime.now(UTC), type_))
    customer = {"customer_id": f"cus_{PERSON}", "email": f"{PERSON}@example.com", "name": "Traced Person"}
    body["data"]["customer"] |= customer
    return json.dumps(body).encode()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for it."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - another thread's list
            await asyncio.sleep(0.02)


async def drained(chain: Chain) -> None:
    """Wait until both groups have nothing before them."""
    async with asyncio.timeout(PATIENCE_S):
        while any(row.records != 0 for row in await read_lag(chain.settings)):  # noqa: ASYNC110 - a reading is a question
            await asyncio.sleep(0.05)


async def test_one_trace_from_the_request_to_the_answer(
    kafka: SharedKafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A webhook whose trace is kept has one that goes through all three stages; others leave nothing.

    Nobody needs the collector: without it webhooks arrive as ever, and the stages stop as ever. The request to
    Customer.io is a trace of its own, linked both ways. No attribute holds anything of a person.
    """
    with collecting() as collector:
        monkeypatch.setenv("PIPELINE_KAFKA_BOOTSTRAP_SERVERS", kafka.bootstrap_servers)
        monkeypatch.setenv("PIPELINE_OTLP_ENDPOINT", collector.url)
        monkeypatch.setenv("PIPELINE_TRACE_RATIO", "0")
        async with Chain(tmp_path, partitions=1, say=lambda _: None) as chain, local_client() as client:

            async def post(webhook_id: str, body: bytes, trace: str | None, flags: str = "01") -> None:
                headers = sign(chain.secret, webhook_id, int(time.time()), body)
                if trace is not None:
                    headers["traceparent"] = f"00-{trace}-{PARENT}-{flags}"
                answer = await client.post(f"{chain.addresses.ingest}/webhooks/dodo", content=body, headers=headers)
                assert answer.status_code == 200
                await drained(chain)

            await post("msg_without", webhook("payment.succeeded"), None)
            await post("msg_not_kept", webhook("subscription.active"), NOT_KEPT, "00")
            await post("msg_kept", webhook("refund.succeeded"), KEPT)
            operations = await _operations(chain)
            await until(lambda: _has_come(collector, operations))
            collector.close()
            await post("msg_later", webhook("payment.failed"), LATER)
            later = await _operations(chain)
            stats = (await client.get(f"{chain.addresses.sandbox}/__sandbox/stats")).json()
        said = {path.name: path.read_text(encoding="utf-8") for path in chain.logs.iterdir()}
    _is_one_trace(collector, operations)
    assert {one.trace for one in collector.spans} == {KEPT, *(one.trace for one in batches(collector))}
    for private in (PERSON, "example.com", "Traced Person"):
        assert private.encode() not in collector.raw
    assert (stats["refused"], stats["accepted"]) == (0, len(later))
    assert len(later) > len(operations)
    assert [one for one in operations if one["webhook-id"] != "msg_kept" and "traceparent" in one] == []
    # They wait at the stop, or were given up before it: the exporter tries for six to nine seconds.
    assert "exported, which the flow does not need" in said["sink.log"]
    assert "Traceback" not in "".join(said.values())


SERVICES = {f"dodo-customerio.{stage}" for stage in ("ingest", "transform", "sink")}


def batches(collector: Collector) -> list[Seen]:
    """Requests to Customer.io."""
    return [one for one in collector.spans if one.span.name == "POST /api/v2/batch"]


def _has_come(collector: Collector, operations: list[dict[str, str]]) -> bool:
    """Whether the collector was told all of the kept trace: each stage tells of what has ended, now and then."""
    spans = collector.of(KEPT)
    told = [one for one in spans if one.service.endswith(".sink") and one.span.name.startswith("process ")]
    requests = {one.span.span_id for one in batches(collector)}
    return (
        {one.service for one in spans} == SERVICES
        and len(told) == sum(one["webhook-id"] == "msg_kept" for one in operations)
        and {link.span_id for one in told for link in one.span.links} <= requests
    )


def _is_one_trace(collector: Collector, operations: list[dict[str, str]]) -> None:
    spans = collector.of(KEPT)
    by_stage: dict[str, list[Seen]] = {}
    for one in spans:
        by_stage.setdefault(f"{one.service.partition('.')[2]} {one.span.name.partition(' ')[0]}", []).append(one)
    (request,), (stored,) = by_stage["ingest POST"], by_stage["ingest send"]
    (mapped,), (sent,) = by_stage["transform process"], by_stage["transform send"]
    told = by_stage["sink process"]
    assert request.span.parent_span_id.hex() == PARENT
    assert stored.span.parent_span_id == request.span.span_id
    assert mapped.span.parent_span_id == stored.span.span_id
    assert sent.span.parent_span_id == mapped.span.span_id
    assert {one.span.parent_span_id for one in told} == {sent.span.span_id}
    own = [one for one in operations if one["webhook-id"] == "msg_kept"]
    assert len(told) == len(own) == sent.attributes["messaging.batch.message_count"]
    assert own
    assert {one["traceparent"] for one in own} == {f"00-{KEPT}-{sent.span.span_id.hex()}-01"}
    assert {link.trace_id.hex() for one in batches(collector) for link in one.span.links} == {KEPT}
    requests = {one.span.span_id for one in batches(collector)}
    assert {link.span_id for one in told for link in one.span.links} <= requests
    assert request.attributes["http.response.status_code"] == 200
    assert mapped.attributes["dodo_cio.outcome"] == "operations"
    assert mapped.attributes["messaging.message.id"] == "msg_kept"
    assert request.span.start_time_unix_nano <= mapped.span.start_time_unix_nano
    assert all(one.span.start_time_unix_nano <= one.span.end_time_unix_nano for one in spans)


async def _operations(chain: Chain) -> list[dict[str, str]]:
    """The headers of every operation there is."""
    tp = TopicPartition(chain.settings.operations_topic, 0)
    async with AIOKafkaConsumer(bootstrap_servers=chain.settings.kafka_bootstrap_servers) as consumer:
        consumer.assign([tp])
        await consumer.seek_to_beginning(tp)
        (end,) = (await consumer.end_offsets([tp])).values()
        return [{name: value.decode() for name, value in (await consumer.getone()).headers} for _ in range(end)]
