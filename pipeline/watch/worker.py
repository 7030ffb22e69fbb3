"""Wires the watch of a worker: vital signs, series and the health port of a `BatchApp`."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Final

from faust.types import TP

from pipeline.kafka.worker.app import BatchApp
from pipeline.watch.clients import show_clients
from pipeline.watch.clock import Clock
from pipeline.watch.driver_thread import DriverThread
from pipeline.watch.health import Health
from pipeline.watch.lateness import Lateness
from pipeline.watch.losses import Losses
from pipeline.watch.metrics import Metrics
from pipeline.watch.page.document import Event, Look, Words
from pipeline.watch.page.figures import families_of
from pipeline.watch.page.own import Own
from pipeline.watch.page.peers import Peers
from pipeline.watch.page.routes import Page
from pipeline.watch.progress import Progress
from pipeline.watch.pulse import PATIENCE_S
from pipeline.watch.server import HealthServer
from pipeline.watch.transport import PartitionFigures, observe_transport, show_partitions, show_vitals
from pipeline.watch.unread import UNREAD_EVERY_S, Unread
from pipeline.watch.vitals import PartitionVitals, Vitals
from pipeline.watch.watchdog import Watchdog

ATTENDED_EVERY_S: Final = 5.0
"""How often `attended` is called for partitions without progress. A stage may have to look through all records that it
holds, for some milliseconds; the verdict looks back five minutes."""


class WorkerWatch:
    """Watches `app` for as long as it runs.

    A stage registers its own series on `metrics`, and reports work on records that makes no visible progress. Either it
    calls `progress.attempted()` whenever it tries something again for all partitions; or it sets `attended`, which is
    called every few seconds with the partitions that make no progress, and returns those whose oldest record is being
    tried again, held on purpose, or waits for others that are.

    These are functions that a stage may set; each returns None when there is nothing to report. `waiting_for` is what a
    start waits for, which `/ready` repeats; `restoring` how far a restore is. `holding` is why a stage holds its
    records back, and `fault` the same if they will not flow before a person acts: then the stage is not ready.
    `details` adds to `/status`, `recent` are the last events on the status page, personal data masked.
    """

    def __init__(
        self, app: BatchApp, *, patience_s: float = PATIENCE_S, unread_every_s: float = UNREAD_EVERY_S
    ) -> None:
        self._app = app
        self._attended_at = -math.inf
        self._stood: dict[TP, tuple[int | None, int | None]] = {}
        self.metrics = Metrics(app.stage)
        self.progress = Progress()
        self.waiting_for: str | None = None
        self.restoring: Callable[[], str | None] = _nothing
        self.holding: Callable[[], str | None] = _nothing
        self.fault: Callable[[], str | None] = _nothing
        self.attended: Callable[[Collection[TP]], Iterable[TP]] = _nobody
        self.details: Callable[[], Mapping[str, Any]] = dict
        self.recent: Callable[[], Iterable[Event]] = tuple
        self._thread = DriverThread(app)
        watchdog = Watchdog(self.vitals, patience_s=patience_s)
        observe_transport(self.metrics)
        show_clients(self.metrics, app.settings)
        show_vitals(self.metrics, self.vitals)
        show_partitions(self.metrics, lambda: self._figures(watchdog), watchdog.held_s)
        self._lateness = Lateness()
        app.transport_observers += [self.metrics, self.progress, self._lateness]
        self.health = Health(
            self.metrics, ready=watchdog.ready, live=watchdog.live, status=lambda: self._status(watchdog)
        )
        settings = app.settings
        page = Page(Own(app.stage, self._look).document, Peers(settings.peers))
        self.server = HealthServer(settings.host, settings.port_of(app.stage), self.health, page.routes())
        unread = Unread(app, self.progress, unread_every_s, self._lateness)
        app.companion(self.server.start, self.server.stop)
        app.companion(unread.start, unread.stop)
        self.clock = Clock(self.metrics)
        self.losses = Losses(app, saw=self.clock.saw)
        app.transport_observers += [self.losses, self.clock]
        app.companion(self.losses.start, self.losses.stop)

    def vitals(self) -> Vitals:
        """The worker's vital signs now."""
        membership, progress = self._app.membership, self.progress
        age_s = membership.heartbeat_age_s()
        assigned = membership.assigned()
        self._ask(progress.places(assigned))
        answers, asked = self._thread.ask()
        return Vitals(
            stage=self._app.stage,
            stopping=self._app.should_stop,
            rebalancing=membership.rebalancing,
            generation=membership.generation,
            partitions=len(assigned),
            delivered=progress.delivered,
            acknowledged=progress.acknowledged,
            committed=progress.committed,
            attempts=progress.attempts,
            places=progress.places(assigned),
            waiting_for=self.waiting_for,
            restoring=self.restoring(),
            holding=self.holding(),
            fault=self.fault(),
            answers=answers,
            asked=asked,
            lost=self.losses.text,
            clock=self.clock.text,
            gone=self._app.gone(),
            heartbeat_age_s=round(age_s, 3) if math.isfinite(age_s) else None,
            coordinator_away=membership.coordinator_away,
            session_s=self._app.settings.session_timeout_seconds,
        )

    async def _look(self) -> Look:
        """The state of this worker for the status page."""
        ready, live = self.health.verdicts()
        vitals = self.vitals()
        words = Words(", ".join(sorted(self._app.batch_topics)), vitals.hold, vitals.restoring)
        return Look(ready, live, families_of(self.metrics.registry), words, self.recent())

    def _ask(self, places: Mapping[TP, PartitionVitals]) -> None:
        """Call `attended` for partitions in which nothing moved since the last call."""
        now = time.monotonic()
        if now - self._attended_at < ATTENDED_EVERY_S:
            return
        self._attended_at = now
        stood, self._stood = self._stood, {tp: (place.delivered, place.acknowledged) for tp, place in places.items()}
        still = [tp for tp, place in places.items() if place.waiting and stood.get(tp) == self._stood[tp]]
        if still:
            self.progress.attempted(self.attended(still))

    def _figures(self, watchdog: Watchdog) -> dict[TP, PartitionFigures]:
        """The figures of each assigned partition, for a scrape."""
        lost = self.losses.shown()
        return {
            tp: PartitionFigures(
                pulse,
                pulse.place.waiting if tp in self.progress.unread_of else None,
                self._lateness.seconds(tp),
                lost[tp].records if tp in lost else 0,
            )
            for tp, pulse in watchdog.partitions().items()
        }

    def _status(self, watchdog: Watchdog) -> dict[str, Any]:
        app = self._app
        assignment = []
        for tp, pulse in sorted(watchdog.partitions().items()):
            place = pulse.place
            assignment.append(
                {
                    "topic": tp.topic,
                    "partition": tp.partition,
                    "delivered": place.delivered,
                    "acknowledged": place.acknowledged,
                    "committed": place.committed,
                    "unread": place.unread,
                    "oldest_unfinished": place.oldest,
                    "unfinished_s": round(pulse.unfinished_s, 3),
                    "commit_age_s": round(pulse.commit_age_s, 3),
                    "still_s": round(pulse.still_s, 3),
                }
            )
        return {"group": app.conf.id, **watchdog.status(), "assignment": assignment, **self.details()}


def _nothing() -> None:
    """Return None: the default of what a stage may report."""


def _nobody(_: Collection[TP]) -> Iterable[TP]:
    """Return no partition: the default of `attended`."""
    return ()
