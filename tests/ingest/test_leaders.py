"""Webhooks while the leader of partitions dies, or freezes, and comes back: each that was answered 200 lies there once.

Batches are then sent again, by the producer that counted their records, behind what came later or before it: a count
that is off by one loses a record, or the producer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from pipeline.ingest.events import ProducerReplaced
from pipeline.kafka.records import text_header
from tests.asking import local_client

pytestmark = [pytest.mark.kafka, pytest.mark.chaos]

LIVE = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
LANES = 24
"""Customers that send one webhook after the other, so that each one's order is known."""

EACH = 20
"""Webhooks that every customer sends at least before the test goes on."""


AHEAD = 2 * EACH
"""Webhooks by which a customer may be ahead of the slowest at full speed."""

REST_S = 0.1
"""Between two webhooks of a customer who is further ahead, or was refused: each would send thousands meanwhile."""


class Senders:
    """Customers, each with one webhook in flight, sent again as Dodo would until it was accepted."""

    def __init__(self, ingest: Any) -> None:
        self._ingest = ingest
        self._ended = False
        self.accepted: list[list[str]] = [[] for _ in range(LANES)]
        self.refused = 0
        self._tasks = [asyncio.ensure_future(self._send(lane)) for lane in range(LANES)]

    async def _send(self, lane: int) -> None:
        body = b'{"type":"payment.succeeded","data":{"customer_id":"cus_%d"}}' % lane
        attempt = 0
        async with local_client() as client:  # of its own: a pool looks at each of its connections at each request
            ingest = replace(self._ingest, client=client)
            while not self._ended:
                webhook_id = f"lane{lane}_{len(self.accepted[lane])}_{attempt}"  # of its own: a 503 may be stored too
                answer = await ingest.post(body, webhook_id)
                if answer.status_code == 200:
                    self.accepted[lane].append(webhook_id)
                    attempt = 0
                else:
                    assert answer.status_code == 503
                    self.refused += 1
                    attempt += 1
                if attempt or len(self.accepted[lane]) > min(map(len, self.accepted)) + AHEAD:
                    await asyncio.sleep(REST_S)

    async def each(self, more: int) -> None:
        """Wait until every customer has had so many more accepted."""
        wanted = [len(ids) + more for ids in self.accepted]
        async with asyncio.timeout(300):
            while not self._have(wanted):  # noqa: ASYNC110 - lists
                await asyncio.sleep(0.02)

    def _have(self, wanted: list[int]) -> bool:
        return all(len(ids) >= least for ids, least in zip(self.accepted, wanted, strict=True))

    async def end(self) -> None:
        """Have the last ones answered."""
        self._ended = True
        await asyncio.gather(*self._tasks)


@pytest.mark.parametrize("how", ["kill", "freeze"])
async def test_a_leader_goes_and_comes_back(
    how: str, kafka_cluster: Any, chain_settings: Any, running: Any, read_topic: Any
) -> None:
    """Each accepted webhook is stored once, each customer's in their order, and no producer's sequence broke."""
    settings = await chain_settings(
        6, kafka_bootstrap_servers=kafka_cluster.bootstrap_servers, dodo_webhook_secrets=LIVE
    )
    await kafka_cluster.wait_until_in_sync()
    back: Callable[[int], object] = kafka_cluster.restart if how == "kill" else kafka_cluster.thaw
    async with running(settings) as ingest:
        senders = Senders(ingest)
        await senders.each(EACH)
        leader = await kafka_cluster.leader(settings.webhooks_topic, 0)
        await asyncio.to_thread(getattr(kafka_cluster, how), leader)
        await senders.each(EACH)
        await asyncio.to_thread(back, leader)
        await kafka_cluster.wait_until_in_sync()
        await senders.each(EACH)
        await senders.end()
    stored: dict[bytes, list[str]] = {}
    for record in await read_topic(settings, settings.webhooks_topic):
        stored.setdefault(record.key, []).append(text_header(record.headers, "webhook-id") or "")
    for lane, accepted in enumerate(senders.accepted):
        found = stored[b"cus_%d" % lane]
        assert len(found) == len(set(found))
        assert [webhook_id for webhook_id in found if webhook_id in set(accepted)] == accepted
    assert not any(isinstance(event, ProducerReplaced) for event in ingest.events)
