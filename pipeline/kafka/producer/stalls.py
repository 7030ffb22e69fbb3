"""Batches that wait and wait for their partition: one line when the first does, one when none does any more."""

from __future__ import annotations

import time
from collections.abc import Callable

from faust.types import TP

from pipeline import logs
from pipeline.kafka.events import BatchProduced, ProducerEvent, ProduceStalled

log = logs.get(__name__)


class Stalls:
    """An observer of one producer; `clock` is monotonic seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._waiting: set[TP] = set()
        self._since = 0.0

    def __call__(self, event: ProducerEvent) -> None:
        """Take in what happened to a batch."""
        match event:
            case BatchProduced():
                if self._waiting:
                    self._moved(TP(event.topic, event.partition))
            case ProduceStalled():
                self._stalled(event)

    def _stalled(self, event: ProduceStalled) -> None:
        if not self._waiting:
            self._since = self._clock() - event.waited_s
            log.warning(
                "Batches wait for their partition: it has no leader, or too few replicas in sync",
                topic=event.topic, partition=event.partition, seconds=round(event.waited_s, 1),
            )  # fmt: skip
        self._waiting.add(TP(event.topic, event.partition))

    def _moved(self, tp: TP) -> None:
        self._waiting.discard(tp)
        if not self._waiting:
            log.info("No batch waits for its partition any more", seconds=round(self._clock() - self._since, 1))
