"""A worker like the transform: copies every record of the webhooks' topic to the operations' topic.

Run as `python copy_worker.py` (the settings come from the environment) or through `faust -A copy_worker worker`.
Behaviour for a test comes from `COPY_*` variables.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections import deque
from collections.abc import AsyncIterable
from typing import Any

from faust.types import TP

from pipeline import logs
from pipeline.errors import TopicError
from pipeline.kafka.producer.outgoing import OutgoingChunk
from pipeline.kafka.producer.producer import BatchProducer
from pipeline.kafka.records import OutRecord, source_of
from pipeline.kafka.worker.app import BatchApp
from pipeline.kafka.worker.batches import RecordBatch
from pipeline.kafka.worker.process import run_worker
from pipeline.settings import Settings

MAX_CHUNKS = 8
LOOK_S = 0.05

log = logs.get("copy_worker")


class Copying:
    """Chunks on their way, acknowledged in the order of delivery."""

    def __init__(self, settings: Settings, app: BatchApp, producer: BatchProducer) -> None:
        self.app = app
        self.producer = producer
        self.output = settings.operations_topic
        self.open = False
        self.flying: dict[TP, deque[tuple[RecordBatch, asyncio.Future[None]]]] = {}
        self.changed = asyncio.Event()
        self.work_s = float(os.environ.get("COPY_WORK_S", "0"))
        self.fail_at = os.environ.get("COPY_FAIL_AT")
        self.hang_at = os.environ.get("COPY_HANG_AT")
        self.hang_s = float(os.environ.get("COPY_HANG_S", "3600"))
        self.skip_heads = "COPY_SKIP_HEADS" in os.environ

    @property
    def in_flight(self) -> int:
        """Chunks whose records are not all durable."""
        return sum(len(queue) for queue in self.flying.values())

    def begin(self) -> None:
        """Take no more."""
        self.open = False
        self.changed.set()

    async def drained(self) -> None:
        """Wait for the chunks in flight."""
        log.info("Draining", chunks=self.in_flight)
        while self.in_flight:
            await self.change()

    def is_vain(self) -> bool:
        """Never."""
        return False

    def abandon(self) -> None:
        """The next owner copies it again."""
        for queue in self.flying.values():
            queue.clear()
        self.flying.clear()
        self.producer.abandon()

    def resume(self, generation: int, assigned: frozenset[TP]) -> None:
        """Take chunks again."""
        log.info("Copying", generation=generation, partitions=len(assigned))
        self.flying.clear()
        self.open = True

    async def change(self) -> None:
        """Wait until something happened."""
        self.changed.clear()
        await self.changed.wait()

    async def take(self, batch: RecordBatch) -> None:
        """Send one chunk on its way."""
        if self.skip_heads and batch.first_offset == 0:
            return
        membership = self.app.membership
        while self.open and self.in_flight >= MAX_CHUNKS:
            await self.change()
        while membership.is_current(batch.generation) and not membership.may_send(batch.generation):  # noqa: ASYNC110 - no event says so
            await asyncio.sleep(LOOK_S)
        if not self.open or not membership.is_current(batch.generation):
            return
        chunk = self.producer.chunk()
        hangs = False
        for record in batch:
            if record.value is not None and self.fail_at is not None and record.value.startswith(self.fail_at.encode()):
                raise RuntimeError("a bug in the agent")
            hangs |= self.hang_at is not None and (record.value or b"").startswith(self.hang_at.encode())
            out = OutRecord(record.key, record.value, (("source", source_of(record).encode()),))
            chunk.append(self.output, self.producer.partition_for(self.output, record.key), out)
        future = asyncio.ensure_future(self.hang(chunk) if hangs else self.work(chunk.send()))
        queue = self.flying.setdefault(batch.tp, deque())
        queue.append((batch, future))
        future.add_done_callback(lambda done: self.landed(queue, done))

    async def work(self, sent: asyncio.Future[None]) -> None:
        """Wait until the copies are durable, and for as long as the test wants a chunk to take."""
        await sent
        await asyncio.sleep(self.work_s)

    async def hang(self, chunk: OutgoingChunk) -> None:
        """Send the copies only after as long as a system that hangs lets everybody wait."""
        log.info("Hanging")
        await asyncio.sleep(self.hang_s)
        await chunk.send()

    def landed(self, queue: deque[tuple[RecordBatch, asyncio.Future[None]]], done: asyncio.Future[None]) -> None:
        """Acknowledge from the completion, in order."""
        if done.cancelled():  # the process ends with work in flight
            return
        if done.exception() is not None:
            if all(done is not future for _, future in queue):
                return  # abandoned
            self.app.crash_soon(done.exception() or RuntimeError())
            return
        while queue and queue[0][1].done():
            queue.popleft()[0].done()
        self.changed.set()


def create_app() -> BatchApp:
    """The app of one worker process."""
    settings = Settings.load()
    app = BatchApp(
        settings.transform_group,
        settings=settings,
        batch_topics=[settings.webhooks_topic],
        stage="transform",
        consumer_metadata_max_age_ms=int(os.environ.get("COPY_METADATA_MS", "300000")),
    )
    producer = BatchProducer(settings, may_write=app.membership.heard)
    copying = Copying(settings, app, producer)
    app.set_handover(copying)

    async def assigned(_partitions: set[TP], _generation: int) -> None:
        await producer.renew()

    app.on_assigned = assigned

    async def start() -> None:
        await producer.start()
        await producer.prime(settings.operations_topic)

    async def check() -> None:
        fault = os.environ.get("COPY_REFUSE")
        if fault:
            raise TopicError(fault)
        if "COPY_WAIT" in os.environ:
            log.info("Waiting for another system")
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:  # as a client may report that its request was broken off
                if os.environ["COPY_WAIT"] == "and fail":
                    raise TopicError("the other system went away") from None
                raise

    app.before_start(check)
    if "COPY_BARE" not in os.environ:
        app.companion(start, producer.stop)
    app.transport_observers.append(lambda event: log.info(str(event)))
    restore_s = float(os.environ.get("COPY_RESTORE_S", "0"))
    if restore_s:

        async def restore(assigned: set[TP], generation: int) -> None:
            log.info("Restoring", generation=generation, partitions=len(assigned))
            await asyncio.sleep(restore_s)
            log.info("Restored", generation=generation)

        app.on_assigned = restore

    @app.agent(app.topic(settings.webhooks_topic, key_type=bytes, value_type=bytes))
    async def copy(stream: Any) -> None:
        events: AsyncIterable[Any] = stream.noack().events()
        async for event in events:
            await copying.take(event.value)

    if "COPY_CRASH_BEFORE_REVOKE" in os.environ:
        crash_before_revocation(app)
    if "COPY_PLAIN" in os.environ:

        @app.agent(app.topic(settings.dead_letters_topic, value_serializer="raw"))
        async def plain(stream: Any) -> None:
            async for value in stream:
                log.info("Plain", text=value.decode())

    return app


def crash_before_revocation(app: BatchApp) -> None:
    """Let the worker crash between the driver's first word of a revocation and the event loop's answer to it."""
    suspend = app.membership.suspend

    def crash_first() -> None:
        suspend()
        if app.membership.assigned() and not app.crashed:
            asyncio.run_coroutine_threadsafe(app.crash(RuntimeError("a bug in a rebalance")), app.loop).result()

    app.membership.suspend = crash_first  # type: ignore[method-assign]


def main() -> int:
    """Run it as `dodo-cio transform` runs the transform."""
    app = create_app()
    return run_worker(app, app.settings)


if __name__ == "__main__":
    sys.exit(main())
else:
    app = create_app()
