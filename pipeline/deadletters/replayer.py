"""Puts letters back, chunk after chunk at an even rate, and writes a receipt for each chunk.

A chunk is durable in its topics before its receipt is written, and the receipt before the next chunk is sent. So an
interruption loses nothing. A crash between the two leaves at most one chunk without a receipt, which the same command
then puts back a second time.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from pipeline.deadletters.letter import Letter
from pipeline.deadletters.pace import Pace, chunk_size
from pipeline.deadletters.receipts import receipt
from pipeline.deadletters.replay import ReplayRecord
from pipeline.errors import DeliveryError, PipelineError, RecordTooLargeError
from pipeline.kafka.producer.sending import Producer

CHUNK_BYTES: Final = 8 * 1024 * 1024
"""Letters of a megabyte each must not add up to a chunk of half a gigabyte."""


async def pause(stopping: asyncio.Event, seconds: float) -> None:
    """Return after `seconds`, or at once when `stopping` is set."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stopping.wait()


@dataclass(frozen=True, slots=True)
class Clocks:
    """A monotonic clock in seconds, the time in unix ms, and a pause; tests replace them."""

    monotonic: Callable[[], float] = time.monotonic
    now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    pause: Callable[[asyncio.Event, float], Awaitable[None]] = pause


@dataclass(frozen=True, slots=True)
class Failure:
    """A letter that could not be put back although it should."""

    letter: Letter
    reason: str


class Replayer:
    """Puts letters back until they end or it is stopped.

    Args:
        producer: sends them.
        receipts_topic: the dead-letter topic.
        partitions: how many each topic has.
        per_second: letters a second.
        clocks: of the pace and of the receipts.
        told: called after each chunk with the number of letters that were put back so far.

    Attributes:
        put_back: letters that are durable and have a receipt.
        in_flight: letters that were sent, and have no receipt yet.
        failures: letters that were left out, with the reason.
    """

    def __init__(
        self,
        producer: Producer,
        receipts_topic: str,
        *,
        partitions: Mapping[str, int],
        per_second: float,
        clocks: Clocks | None = None,
        told: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._producer = producer
        self._receipts_topic = receipts_topic
        self._pace = Pace(per_second)
        self._size = chunk_size(per_second)
        self._partitions = partitions
        self._clocks = clocks or Clocks()
        self._told = told
        self._stopping = asyncio.Event()
        self.put_back = 0
        self.in_flight = 0
        self.failures: list[Failure] = []

    @property
    def stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._stopping.is_set()

    def stop(self) -> None:
        """Send no further chunk; the one in flight is waited for and gets its receipt."""
        self._stopping.set()

    async def run(self, letters: AsyncIterator[tuple[Letter, ReplayRecord]]) -> None:
        """Put `letters` back in order.

        Raises:
            DeliveryError: a chunk or its receipt did not become durable; those before it are.
            TopicError: a topic cannot be written.
        """
        chunk: list[tuple[Letter, ReplayRecord]] = []
        size = 0
        async for letter, back in letters:
            chunk.append((letter, back))
            size += len(back.record.value or b"")
            if len(chunk) >= self._size or size >= CHUNK_BYTES:
                await self._send(chunk)
                chunk, size = [], 0
            if self.stopped:
                return
        if chunk:
            await self._send(chunk)

    async def _send(self, chunk: list[tuple[Letter, ReplayRecord]]) -> None:
        await self._clocks.pause(self._stopping, self._pace.wait_s(len(chunk), self._clocks.monotonic()))
        if self.stopped:
            return
        outgoing = self._producer.chunk()
        sent = []
        for letter, back in chunk:
            try:
                outgoing.append(back.topic, self._partition(back), back.record)
            except RecordTooLargeError as error:
                self.failures.append(Failure(letter, str(error)))
            else:
                sent.append(letter.identity)
        if not sent:
            return
        self.in_flight = len(sent)
        await outgoing.send()
        await self._note(sent)
        self.in_flight = 0
        self.put_back += len(sent)
        self._told(self.put_back)

    async def _note(self, identities: list[bytes]) -> None:
        record = receipt(identities, self._clocks.now_ms())
        noting = self._producer.chunk()
        noting.append(self._receipts_topic, self._producer.partition_for(self._receipts_topic, record.key), record)
        try:
            await noting.send()
        except PipelineError as error:
            raise DeliveryError(
                f"{len(identities)} letters are back in their topics, but topic {self._receipts_topic} did not take "
                f"the note of it, so the same command would put them back a second time: {error}"
            ) from None

    def _partition(self, back: ReplayRecord) -> int:
        if back.partition is not None and back.partition < self._partitions[back.topic]:
            return back.partition
        return self._producer.partition_for(back.topic, back.record.key)
