"""Dodo Payments as a client: signs, posts to any ingest, and comes again until it is answered for good.

Each customer's webhooks are posted one after the other, so that an order broken later on is the pipeline's doing.
"""

from __future__ import annotations

import asyncio
import random
import time
import zlib
from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import Self

import httpx

from pipeline.dodo.simulator import Delivery
from tests.asking import local_client
from tests.chaos.season.record import Answered
from tests.chaos.truth import Posted

LANES = 16
ANSWER_WITHIN_S = 15.0
"""Dodo's own limit of an attempt."""

FINAL = frozenset({200, 401})
PAUSES_S = (0.1, 0.2, 0.5, 1.0, 2.0)
"""Dodo waits 5 s, then minutes; a test that waits as long would see fewer deaths."""

SIGNED_FOR_S = 200.0
"""Repeats are the same request, which is refused as stale after 300 s. It must never take as long."""

QUIET_S = 120.0
"""Without a single answer for so long nothing more will come, whatever the machine does besides."""


class Client:
    """Posts the deliveries as far as they are released, while its context lasts.

    `now_s` is the shop's present, by default this moment: many deliveries take minutes to be thought of, and an attempt
    that is dated so much too early would be refused as stale.
    """

    def __init__(
        self, urls: Sequence[str], secret: str, deliveries: Sequence[Delivery], seed: int, *, now_s: float | None = None
    ) -> None:
        self._urls = urls
        self._secret = secret
        self._dice = random.Random(seed)
        self._lanes: list[list[tuple[int, Delivery]]] = [[] for _ in range(LANES)]
        for number, one in enumerate(deliveries):
            self._lanes[zlib.crc32((one.customer_id or one.webhook_id).encode()) % LANES].append((number, one))
        self._times: list[bytes] = [b""] * len(deliveries)
        self._ledger = [Answered(one.webhook_id, one.kind, 0.0, 0.0, 0, 0) for one in deliveries]
        self._deliveries = deliveries
        self._released = 0
        self._more = asyncio.Event()
        self._began = time.time() if now_s is None else now_s
        self._moved = time.monotonic()
        self._posting: asyncio.Task[None] | None = None
        self.answered = 0
        self.answers: Counter[int | str] = Counter()

    async def __aenter__(self) -> Self:
        self._posting = asyncio.create_task(self._post_all())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        assert self._posting is not None
        self._posting.cancel()
        await asyncio.wait({self._posting})

    @property
    def posted(self) -> list[Posted]:
        """Every request in the order of the deliveries, once all are answered."""
        assert self.answered == len(self._deliveries)
        return [Posted(one, at) for one, at in zip(self._deliveries, self._times, strict=True)]

    @property
    def ledger(self) -> tuple[Answered, ...]:
        """Every webhook that was posted, and what it was answered."""
        return tuple(one for one in self._ledger if one.attempts)

    def release(self, count: int) -> None:
        """Let so many more be posted."""
        self._released = min(self._released + count, len(self._deliveries))
        self._moved = time.monotonic()
        self._more.set()
        self._more = asyncio.Event()

    async def reaches(self, answered: int) -> None:
        """Wait until so many have their answer.

        Raises:
            AssertionError: one was answered wrongly, or nothing is answered any more.
        """
        assert self._posting is not None
        answered = min(answered, self._released)
        while self.answered < answered:
            if self._posting.done():
                self._posting.result()
            quiet_s = time.monotonic() - self._moved
            if quiet_s > QUIET_S:
                raise AssertionError(f"no answer for {quiet_s:.0f} s; {self.answered} of {answered}: {self.answers}")
            await asyncio.sleep(0.02)

    async def _post_all(self) -> None:
        limits = httpx.Limits(max_connections=2 * LANES, max_keepalive_connections=2 * LANES)
        async with local_client(timeout=ANSWER_WITHIN_S, limits=limits) as http:
            lanes = [asyncio.create_task(self._post_lane(http, lane)) for lane in self._lanes]
            try:
                await asyncio.gather(*lanes)
            finally:
                for lane in lanes:
                    lane.cancel()
                await asyncio.wait(lanes)

    async def _post_lane(self, http: httpx.AsyncClient, lane: Sequence[tuple[int, Delivery]]) -> None:
        for number, delivery in lane:
            while number >= self._released:
                await self._more.wait()
            await self._post(http, number, delivery)
            self.answered += 1
            self._moved = time.monotonic()

    async def _post(self, http: httpx.AsyncClient, number: int, delivery: Delivery) -> None:
        began = time.time()
        headers = delivery.headers(self._secret, elapsed_s=began - self._began)
        self._times[number] = headers["webhook-timestamp"].encode()
        attempt = 0
        while True:
            self._ledger[number] = self._ledger[number]._replace(posted_s=began, attempts=attempt + 1)
            try:
                answer = await http.post(self._dice.choice(self._urls), content=delivery.body, headers=headers)
            except httpx.HTTPError as error:
                self.answers[type(error).__name__] += 1
            else:
                self.answers[answer.status_code] += 1
                if answer.status_code in FINAL:
                    said = self._ledger[number]
                    self._ledger[number] = said._replace(answered_s=time.time(), status=answer.status_code)
                    wanted = 401 if delivery.kind == "forged" else 200
                    assert answer.status_code == wanted, f"{delivery.webhook_id}: {answer.status_code} {answer.text}"
                    return
            assert time.time() - began < SIGNED_FOR_S, f"{delivery.webhook_id} is not taken: {self.answers}"
            await asyncio.sleep(PAUSES_S[min(attempt, len(PAUSES_S) - 1)])
            attempt += 1
