"""A shop's webhooks at a rate, for as long as it takes, without a list of them."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Final

import httpx

from pipeline.dodo.simulator import Delivery, Shop
from tests.asking import local_client

POSTERS: Final = 32
WAITING: Final = 200
FINE: Final = frozenset({200, 401})

AHEAD_S: Final = 60
"""The simulated shop dates redeliveries up to a minute ahead. Dated ahead of the clock, their profiles would wait in
the sink for their time, and the rate at which a rush is accepted would be that of the clock."""


class Load:
    """Posts to the ingest at `url`; all webhooks there are, forged ones included."""

    def __init__(self, url: str, secret: str, seed: int) -> None:
        self._url = url
        self._secret = secret
        self._began = time.time()
        self._shop = Shop(seed, datetime.now(UTC) - timedelta(seconds=AHEAD_S))
        self.answers: Counter[int | str] = Counter()

    @property
    def wrong(self) -> dict[int | str, int]:
        """Answers that a shop must not get, and how many."""
        return {answer: count for answer, count in self.answers.items() if answer not in FINE}

    async def post(self, seconds: float, per_second: float) -> int:
        """Post for so long, each at its time or as soon as the ingest takes it; how many that were, all answered."""
        queue: asyncio.Queue[Delivery | None] = asyncio.Queue(WAITING)
        began = time.monotonic()
        limits = httpx.Limits(max_connections=POSTERS, max_keepalive_connections=POSTERS)
        async with local_client(timeout=30, limits=limits) as http, asyncio.TaskGroup() as tasks:
            for _ in range(POSTERS):
                tasks.create_task(self._posts(http, queue))
            number = 0
            while time.monotonic() - began < seconds:
                late_s = began + number / per_second - time.monotonic()
                if late_s > 0:
                    await asyncio.sleep(late_s)
                for delivery in self._shop.deliveries(1):
                    await queue.put(delivery)
                number += 1
            for _ in range(POSTERS):
                await queue.put(None)
        return number

    async def _posts(self, http: httpx.AsyncClient, queue: asyncio.Queue[Delivery | None]) -> None:
        while (delivery := await queue.get()) is not None:
            headers = delivery.headers(self._secret, elapsed_s=time.time() - self._began)
            try:
                answer: int | str = (await http.post(self._url, content=delivery.body, headers=headers)).status_code
            except httpx.HTTPError as error:
                answer = type(error).__name__
            self.answers[answer] += 1
