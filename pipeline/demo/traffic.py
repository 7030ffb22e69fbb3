"""Posts the shop's webhooks to ingest the way that Dodo does: signed, retried on anything but 2xx and 401.

Each customer's webhooks go through one connection in order, so that a violation of order downstream is the
pipeline's, not the sender's.
"""

from __future__ import annotations

import asyncio
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.dodo.simulator import Delivery
from pipeline.errors import DeliveryError
from pipeline.kafka.records import WEBHOOK_TIMESTAMP
from pipeline.plain_httpx import httpx

CONNECTIONS = 16
"""Enough to keep one ingest busy from one httpx process; Dodo itself posts with a few."""

ATTEMPTS = 8
"""Dodo's own number of attempts (docs: Webhooks, retry schedule)."""

FINAL = frozenset({200, 401})
"""Answers after which the demo does not try again; Dodo would retry a 401, which proves nothing here."""


@dataclass(slots=True)
class Sent:
    """What came of the traffic."""

    answers: Counter[int] = field(default_factory=Counter)
    signed_s: dict[int, int] = field(default_factory=dict)
    """The timestamp of each delivery by its place: what the pipeline takes for the time of delivery."""
    first_post_ms: dict[str, float] = field(default_factory=dict)
    began: float = 0.0


async def send(url: str, deliveries: Iterable[Delivery], secret: str, *, on_answer: Callable[[], None]) -> Sent:
    """Post everything; returns when each has its final answer.

    Raises:
        DeliveryError: ingest could not be reached, or never gave a final answer, in eight attempts.
    """
    lanes: list[list[tuple[int, Delivery]]] = [[] for _ in range(CONNECTIONS)]
    for place, delivery in enumerate(deliveries):
        who = delivery.customer_id or delivery.webhook_id
        lanes[zlib.crc32(who.encode()) % CONNECTIONS].append((place, delivery))
    sent = Sent(began=time.time())
    limits = httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS)

    async def post_lane(lane: Sequence[tuple[int, Delivery]]) -> None:
        for place, delivery in lane:
            began = time.time()
            sent.first_post_ms.setdefault(delivery.webhook_id, began * 1000)
            # Signed when it is sent: a long run would outlast the tolerance of 300 s.
            headers = delivery.headers(secret, elapsed_s=began - sent.began)
            sent.signed_s[place] = int(headers[WEBHOOK_TIMESTAMP])
            sent.answers[await _post(client, url, delivery.body, headers)] += 1
            on_answer()

    async with (
        httpx.AsyncClient(timeout=httpx.Timeout(15), limits=limits, trust_env=False) as client,
        asyncio.TaskGroup() as group,
    ):
        for lane in lanes:
            group.create_task(post_lane(lane))
    return sent


async def _post(client: httpx.AsyncClient, url: str, body: bytes, headers: Mapping[str, str]) -> int:
    seen: object = None
    for attempt in range(ATTEMPTS):
        try:
            answer = await client.post(url, content=body, headers=dict(headers))
        except httpx.HTTPError as error:
            seen = type(error).__name__
        else:
            if answer.status_code in FINAL:
                return answer.status_code
            seen = answer.status_code
        await asyncio.sleep(0.1 * 2**attempt)
    raise DeliveryError(f"ingest at {url} gave no final answer to a webhook in {ATTEMPTS} attempts (last: {seen})")
