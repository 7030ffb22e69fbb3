"""The document of this process, made on request, and at most once a second however many requests there are."""

from __future__ import annotations

import asyncio
import math
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Final

from pipeline.settings import Stage
from pipeline.watch.page.document import Look, Process, StageDocument, document_of
from pipeline.watch.page.figures import figures
from pipeline.watch.page.rate import Rate

ANEW_S: Final = 1.0
"""How old a document may be: a person needs no newer one, and many open pages cost no more than one."""


class Own:
    """Makes the document of this process from what `look` returns.

    Args:
        stage: of this process.
        look: reads the process's state; where several processes serve as one, that of all of them.
        monotonic: seconds that only rise.
        unix: seconds since the epoch.
    """

    def __init__(
        self,
        stage: Stage,
        look: Callable[[], Awaitable[Look]],
        *,
        monotonic: Callable[[], float] = time.monotonic,
        unix: Callable[[], float] = time.time,
    ) -> None:
        self._process = Process(stage, secrets.token_hex(8), int(unix() * 1000))
        self._look = look
        self._monotonic = monotonic
        self._unix = unix
        self._rate = Rate()
        self._one_at_a_time = asyncio.Lock()
        self._made_at = -math.inf
        self._made: StageDocument | None = None

    async def document(self) -> StageDocument:
        """The document, no older than `ANEW_S`."""
        async with self._one_at_a_time:
            now = self._monotonic()
            if self._made is None or now - self._made_at >= ANEW_S:
                look = await self._look()
                seen = figures(self._process.stage, look.families)
                rate = self._rate.after(now, seen["done"])
                self._made = document_of(self._process, look, seen, rate, int(self._unix() * 1000))
                self._made_at = now
            return self._made
