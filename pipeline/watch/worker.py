"""The watch over a worker, wired: vital signs, series and the health port of a `BatchApp`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from pipeline.kafka.app import BatchApp
from pipeline.watch.health import Health
from pipeline.watch.metrics import Metrics
from pipeline.watch.progress import Progress
from pipeline.watch.server import HealthServer
from pipeline.watch.transport import observe_transport, show_vitals
from pipeline.watch.unread import UNREAD_EVERY_S, Unread
from pipeline.watch.vitals import PATIENCE_S, Vitals
from pipeline.watch.watchdog import Watchdog


class WorkerWatch:
    """Watches `app` for as long as it runs.

    A stage registers its own series on `metrics` and calls `progress.attempted()` whenever it retries, so that an
    outage of the other side is not taken for a stuck worker. Both are observers: hand them to whatever tells events.
    A start that waits for another system says so in `waiting_for`, which `/ready` repeats; a stage with a state says
    in `restoring` how far a restore is, None when there is none. `details` adds to `/status`.
    """

    def __init__(
        self, app: BatchApp, *, patience_s: float = PATIENCE_S, unread_every_s: float = UNREAD_EVERY_S
    ) -> None:
        self._app = app
        self.metrics = Metrics(app.stage)
        self.progress = Progress()
        self.waiting_for: str | None = None
        self.restoring: Callable[[], str | None] = _nothing
        self.details: Callable[[], Mapping[str, Any]] = dict
        observe_transport(self.metrics)
        show_vitals(self.metrics, self.vitals)
        app.transport_observers += [self.metrics, self.progress]
        watchdog = Watchdog(self.vitals, patience_s=patience_s)
        self.health = Health(
            self.metrics, ready=watchdog.ready, live=watchdog.live, status=lambda: self._status(watchdog)
        )
        settings = app.settings
        self.server = HealthServer(settings.host, settings.port_of(app.stage), self.health)
        unread = Unread(app, self.progress, unread_every_s)
        app.companion(self.server.start, self.server.stop)
        app.companion(unread.start, unread.stop)

    def vitals(self) -> Vitals:
        """The worker's vital signs now."""
        membership, progress = self._app.membership, self.progress
        age_s = membership.heartbeat_age_s()
        return Vitals(
            stage=self._app.stage,
            stopping=self._app.should_stop,
            rebalancing=membership.rebalancing,
            generation=membership.generation,
            partitions=len(membership.assigned()),
            delivered=progress.delivered,
            acknowledged=progress.acknowledged,
            committed=progress.committed,
            attempts=progress.attempts,
            unread=progress.unread,
            undelivered=progress.undelivered,
            uncommitted=progress.uncommitted,
            waiting_for=self.waiting_for,
            restoring=self.restoring(),
            heartbeat_age_s=round(age_s, 3) if math.isfinite(age_s) else None,
            session_s=self._app.settings.session_timeout_seconds,
        )

    def _status(self, watchdog: Watchdog) -> dict[str, Any]:
        app, places = self._app, self.progress.partitions
        assignment = []
        for tp in sorted(app.membership.assigned()):
            place = places.get(tp)
            assignment.append(
                {
                    "topic": tp.topic,
                    "partition": tp.partition,
                    "delivered": place and place.delivered,
                    "acknowledged": place and place.acknowledged,
                    "committed": place and place.committed,
                    "unread": self.progress.unread_of.get(tp),
                }
            )
        return {"group": app.conf.id, **watchdog.status(), "assignment": assignment, **self.details()}


def _nothing() -> None:
    """No state is being restored."""
