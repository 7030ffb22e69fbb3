"""Ingest on real Kafka: what was answered 200 lies in the topics, byte for byte, where Java would put it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from zlib import crc32

import pytest

from pipeline.dodo import samples
from pipeline.dodo.simulator import Delivery, Shop
from pipeline.errors import BrokerUnreachableError, TopicError
from pipeline.ingest import PATH
from pipeline.ingest.app import create_app
from pipeline.ingest.events import ProducerReplaced
from pipeline.kafka.cluster.admin import open_admin
from pipeline.kafka.records import text_header
from pipeline.settings import Settings

pytestmark = pytest.mark.kafka

LIVE = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

JAVA_MURMUR2 = {
    "21": -973932308,
    "foobar": -790332482,
    "a-little-bit-long-string": -985981536,
    "a-little-bit-longer-string": -1486304829,
    "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    "abc": 479470107,
}
"""org.apache.kafka.common.utils.UtilsTest.testMurmur2."""


async def test_the_record_is_the_request(chain_settings: Any, running: Any, read_topic: Any) -> None:
    """Value, key and headers of the stored record are those of the request, and a trace goes with it."""
    settings = await chain_settings(dodo_webhook_secrets=LIVE)
    body = samples.load("payment.succeeded--krw")
    async with running(settings) as ingest:
        answer = await ingest.post(body, "msg_krw", traceparent=TRACE)
    assert (answer.status_code, answer.content) == (200, b"{}")
    [record] = await read_topic(settings, settings.webhooks_topic)
    assert record.value == body
    assert record.key == b"cus_0NExampleCustomer0001"
    headers = dict(record.headers)
    assert list(headers) == ["webhook-id", "webhook-timestamp", "dodo-type", "dodo-mode", "received-at", "traceparent"]
    assert headers["webhook-id"] == b"msg_krw"
    assert headers["dodo-type"] == b"payment.succeeded"
    assert headers["dodo-mode"] == b"live"
    assert headers["traceparent"] == TRACE.encode()


@pytest.mark.parametrize("partitions", [5, 12])
async def test_partitions_are_javas(partitions: int, chain_settings: Any, running: Any, read_topic: Any) -> None:
    """A customer's partition is the one that Java's default partitioner chooses."""
    settings = await chain_settings(partitions, dodo_webhook_secrets=LIVE)
    async with running(settings) as ingest:
        for key in JAVA_MURMUR2:
            await ingest.post(b'{"type":"a.b","data":{"customer_id":"%s"}}' % key.encode())
    found = {record.key.decode(): record.partition for record in await read_topic(settings, settings.webhooks_topic)}
    assert found == {key: (value & 0x7FFFFFFF) % partitions for key, value in JAVA_MURMUR2.items()}


async def test_a_shops_traffic_is_stored_once_and_whole(chain_settings: Any, running: Any, read_topic: Any) -> None:
    """A shop's deliveries, sixteen at a time: the genuine are stored as often as sent, the forged never."""
    settings = await chain_settings(dodo_webhook_secrets=LIVE)
    shop = Shop(11, datetime.now(UTC))
    lanes: list[list[Delivery]] = [[] for _ in range(16)]
    deliveries = list(shop.deliveries(1500))
    for delivery in deliveries:
        lanes[crc32((delivery.customer_id or "").encode()) % 16].append(delivery)
    async with running(settings) as ingest:

        async def send(lane: list[Delivery]) -> None:
            for delivery in lane:
                answer = await ingest.client.post(
                    f"{ingest.url}{PATH}", content=delivery.body, headers=delivery.headers(LIVE)
                )
                assert answer.status_code == (401 if delivery.kind == "forged" else 200)

        await asyncio.gather(*(send(lane) for lane in lanes))
        metrics = (await ingest.client.get(f"{ingest.url}/metrics")).text
    webhooks = await read_topic(settings, settings.webhooks_topic)
    letters = await read_topic(settings, settings.dead_letters_topic)
    genuine = [d for d in deliveries if d.kind in {"first", "redelivery"}]
    assert Counter(r.value for r in webhooks) == Counter(d.body for d in genuine)
    assert Counter(text_header(r.headers, "webhook-id") for r in webhooks) == Counter(d.webhook_id for d in genuine)
    assert Counter(r.value for r in letters) == Counter(d.body for d in deliveries if d.kind == "unreadable")
    assert {text_header(r.headers, "dlq-class") for r in letters} == {"unreadable"}
    for customer, ids in shop.ledger.sequences.items():
        stored = [text_header(r.headers, "webhook-id") for r in webhooks if r.key == customer.encode()]
        assert list(dict.fromkeys(stored)) == ids
    kinds = shop.ledger.kinds
    assert f'dodo_cio_ingest_requests_total{{outcome="accepted",status="200"}} {len(genuine)}.0' in metrics
    assert f'dodo_cio_ingest_requests_total{{outcome="forged",status="401"}} {kinds["forged"]}.0' in metrics
    assert f'dodo_cio_ingest_dead_letters_total{{class="unreadable",mode="live"}} {kinds["unreadable"]}.0' in metrics
    assert f"dodo_cio_ingest_store_seconds_count {len(genuine) + kinds['unreadable']}.0" in metrics


async def test_an_empty_body_is_a_dead_letter_with_a_value(chain_settings: Any, running: Any, read_topic: Any) -> None:
    """Even nothing is kept, as an empty value and not as a tombstone."""
    settings = await chain_settings(dodo_webhook_secrets=LIVE)
    async with running(settings) as ingest:
        assert (await ingest.post(b"")).status_code == 200
    [letter] = await read_topic(settings, settings.dead_letters_topic)
    assert letter.value == b""
    assert letter.key == b"msg_1"


async def test_a_broken_sequence_is_survived(chain_settings: Any, running: Any, read_topic: Any) -> None:
    """A record that the broker refuses costs its own request, not those that come after it.

    Without a new producer every later record of the partition would be out of order for good.
    """
    settings = await chain_settings(1, dodo_webhook_secrets=LIVE)
    small, large = samples.load("payout.created"), samples.load("subscription.active")
    async with running(settings) as ingest:
        assert (await ingest.post(small, "msg_before")).status_code == 200
        async with open_admin(settings) as admin:
            await admin.set_configs(settings.webhooks_topic, {"max.message.bytes": "1500"})
        refused = await _until(503, lambda: ingest.post(large, "msg_large"))
        assert int(refused.headers["retry-after"]) > 0
        await ingest.becomes(200)
        for number in range(20):
            assert (await ingest.post(small, f"msg_after_{number}")).status_code == 200
    assert any(isinstance(event, ProducerReplaced) for event in ingest.events)
    ids = [text_header(r.headers, "webhook-id") for r in await read_topic(settings, settings.webhooks_topic)]
    assert [i for i in ids if i != "msg_large"] == ["msg_before", *(f"msg_after_{number}" for number in range(20))]


async def _until(status: int, attempt: Callable[[], Any]) -> Any:
    """A changed topic setting reaches the broker's log a moment after the order was answered."""
    async with asyncio.timeout(300):
        while True:
            answer = await attempt()
            if answer.status_code == status:
                return answer


async def test_a_missing_topic_ends_the_start(chain_settings: Any) -> None:
    """Topics are never made on the fly; the message names the missing one and the command."""
    settings = await chain_settings(dodo_webhook_secrets=LIVE)
    app = create_app(settings.model_copy(update={"webhooks_topic": "not-there"}))
    with pytest.raises(TopicError, match=r"not-there.*dodo-cio topics apply"):
        async with app.router.lifespan_context(app):
            pass


async def test_a_topic_for_smaller_records_ends_the_start(chain_settings: Any) -> None:
    """A topic that cannot take the largest webhook is a fault before the first one, not at it."""
    settings = await chain_settings(dodo_webhook_secrets=LIVE)
    async with open_admin(settings) as admin:
        await admin.set_configs(settings.dead_letters_topic, {"max.message.bytes": "900000"})
    app = create_app(settings)
    with pytest.raises(TopicError, match=settings.dead_letters_topic):
        async with app.router.lifespan_context(app):
            pass


async def test_the_largest_webhook_fits(chain_settings: Any, running: Any, read_topic: Any) -> None:
    """A body at the cap is stored, and as a dead letter too."""
    settings = await chain_settings(dodo_webhook_secrets=LIVE)
    whole = b'{"type":"a.b","data":{}}' + b" " * (900_000 - 24)
    async with running(settings) as ingest:
        assert (await ingest.post(whole)).status_code == 200
        assert (await ingest.post(whole[1:] + b" ")).status_code == 200
    assert len((await read_topic(settings, settings.webhooks_topic))[0].value) == 900_000
    assert len((await read_topic(settings, settings.dead_letters_topic))[0].value) == 900_000


async def test_no_broker_ends_the_start() -> None:
    """Nothing at the address: one error that names the setting."""
    app = create_app(Settings.load(kafka_bootstrap_servers="127.0.0.1:1", dodo_webhook_secrets=LIVE))
    with pytest.raises(BrokerUnreachableError, match="PIPELINE_KAFKA_BOOTSTRAP_SERVERS"):
        async with app.router.lifespan_context(app):
            pass
