"""Finds records that retention deleted unread, writes them to the group's ledger, and shows them until acknowledged."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final

from aiokafka.structs import TopicPartition
from faust.types import TP

from pipeline import logs
from pipeline.errors import BrokerUnreachableError, ConfigurationError
from pipeline.kafka.cluster.admin import Admin, open_admin
from pipeline.kafka.cluster.losses import Loss, added, ledger_of, read_loss
from pipeline.kafka.events import GapSeen, LogRestarted, RebalanceEnded
from pipeline.kafka.worker.app import BatchApp
from pipeline.tasks import BackgroundTask, OnEnd

LOOK_S: Final = 15.0
"""Between two looks for partitions that are empty. A loss that a record's offset shows is reported at once."""

LEDGER_S: Final = 60.0
"""Between two reads of what was acknowledged: so long an acknowledgement takes at most to be seen."""

PATIENCE_S: Final = 10.0
"""For the brokers to read or write the ledger; what could not be written is written at the next look."""

WITHIN_S: Final = 20.0
"""For the consumer's thread to answer; `driver_thread` reports one that hangs."""

REMEMBERED: Final = 1000
"""How many losses may wait to be written to the ledger."""

LOST_RECORDS: Final = BackgroundTask("lost records", OnEnd.RESTART)

log = logs.get(__name__)


class Losses:
    """An observer of the transport that keeps the losses of this worker's partitions.

    If the ledger may not be written, only this process knows them, until it ends. `saw` is called at each look with the
    offsets at which the logs begin and end (`kafka.log_bounds.LogBounds`).
    """

    def __init__(
        self,
        app: BatchApp,
        look_s: float = LOOK_S,
        ledger_s: float = LEDGER_S,
        saw: Callable[[Mapping[TP, Any]], None] = lambda _: None,
        now_ms: Callable[[], int] = lambda: int(time.time() * 1000),
    ) -> None:
        self._app = app
        self._group = ledger_of(app.conf.id)
        self._look_s = look_s
        self._ledger_s = ledger_s
        self._saw = saw
        self._now_ms = now_ms
        self._known: dict[TP, Loss] = {}
        self._fresh: deque[GapSeen] = deque(maxlen=REMEMBERED)
        self._reset: set[TP] = set()
        self._stale = asyncio.Event()
        self._read_at = float("-inf")
        self._refused = ""
        self._tasks = app.background()

    def __call__(self, event: object) -> None:
        """Take in one event of the transport."""
        match event:
            case GapSeen():
                tp = TP(event.topic, event.partition)
                self._known[tp] = self._after(self._known.get(tp), event)
                self._fresh.append(event)
            case LogRestarted():
                self._known.pop(TP(event.topic, event.partition), None)
                self._reset.add(TP(event.topic, event.partition))
            case RebalanceEnded():
                self._known = {tp: loss for tp, loss in self._known.items() if tp in event.assigned}
            case _:
                return
        self._read_at = float("-inf")
        self._stale.set()

    async def start(self) -> None:
        """Begin to look every `look_s`."""
        self._tasks.start(LOST_RECORDS, self._run)

    async def stop(self) -> None:
        """End it, after new losses were written to the ledger, if the brokers answer in time."""
        if self._fresh:
            with suppress(TimeoutError, BrokerUnreachableError, ConfigurationError):
                async with asyncio.timeout(PATIENCE_S / 5):
                    await self._write_and_read()
        await self._tasks.stop()

    def shown(self) -> dict[TP, Loss]:
        """The losses to show, by partition: recent ones that nobody has acknowledged."""
        return {tp: loss for tp, loss in self._known.items() if loss.is_shown(self._now_ms())}

    @property
    def text(self) -> str | None:
        """The text for `/ready`, None when there are none."""
        shown = self.shown()
        if not shown:
            return None
        first = min(shown)
        more = f" and {len(shown) - 1} more partitions" if shown.keys() - {first} else ""
        records = sum(loss.records for loss in shown.values())
        return (
            f"LOST: {records} records of {first.topic}/{first.partition}{more} were deleted before they were processed "
            "(`dodo-cio lag`, then `dodo-cio lag --acknowledge`)"
        )

    def _after(self, known: Loss | None, event: GapSeen) -> Loss:
        return added(known, event.expected_offset, event.found_offset, self._now_ms()) or known or Loss(0)

    async def _run(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._look_s):
                    await self._stale.wait()
            self._stale.clear()
            await self.look()

    async def look(self) -> None:
        """Look once for empty partitions, and at times write and read the ledger."""
        membership = self._app.membership
        generation = membership.generation
        if membership.rebalancing or generation < 0:
            return
        consumer: Any = self._app.consumer
        with suppress(TimeoutError):
            async with asyncio.timeout(WITHIN_S):
                bounds = await consumer.log_bounds()
            if membership.generation == generation:
                consumer.emptied({tp: one.start for tp, one in bounds.items() if one.start == one.end})
                self._saw(bounds)
        if time.monotonic() - self._read_at < self._ledger_s:
            return
        try:
            await self._write_and_read()
        except BrokerUnreachableError:
            return  # the next look is soon enough
        except ConfigurationError as error:
            if str(error) != self._refused:
                self._refused = str(error)
                log.warning(
                    "Lost records are remembered by this process alone: the ledger of losses cannot be used",
                    group=self._group, error=str(error),
                )  # fmt: skip
        self._read_at = time.monotonic()

    async def _write_and_read(self) -> None:
        assigned = [TopicPartition(tp.topic, tp.partition) for tp in sorted(self._app.membership.assigned())]
        if not assigned:
            return
        async with open_admin(self._app.settings, patience_s=PATIENCE_S) as admin:
            written = await self._read(admin, assigned)
            fresh, reset = list(self._fresh), set(self._reset)
            changed = dict.fromkeys(reset & written.keys(), Loss(0))
            for event in fresh:
                tp = TP(event.topic, event.partition)
                known = changed.get(tp, written.get(tp))
                changed[tp] = self._after(known, event)
            if changed:
                await admin.note(
                    self._group, {TopicPartition(*tp): (loss.stop, loss.text) for tp, loss in changed.items()}
                )
        for event in fresh:
            self._fresh.remove(event)
        self._reset -= reset
        self._known |= written | changed
        self._refused = ""

    async def _read(self, admin: Admin, partitions: list[TopicPartition]) -> dict[TP, Loss]:
        found = await admin.noted(self._group, partitions)
        return {TP(*tp): read_loss(*one) for tp, one in found.items() if one is not None}
