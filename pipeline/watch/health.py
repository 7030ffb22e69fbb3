"""`/live`, `/ready`, `/status` and `/metrics` of a process, as Starlette routes.

Each answer names its reason, so that `kubectl describe` shows why a probe failed. Nothing here depends on Customer.io:
when it is down, every replica would restart for nothing and lose what it had in flight.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pipeline import __version__
from pipeline.watch.metrics import Metrics
from pipeline.watch.vitals import Verdict

OK, UNAVAILABLE = 200, 503


def _nothing() -> Mapping[str, Any]:
    return {}


def verdict_series(metrics: Metrics) -> Callable[[Verdict, Verdict], None]:
    """Register the gauges of the verdicts; returns what sets them: whether it is ready, and whether it is live."""
    is_ready = metrics.gauge("ready", "1 while records can flow through this process, else 0.")
    is_live = metrics.gauge("live", "0 when this process should be restarted, else 1.")

    def show(ready: Verdict, live: Verdict) -> None:
        is_ready.set(ready.ok)
        is_live.set(live.ok)

    return show


class Health:
    """The probes of a process.

    `ready` and `live` are called at every request, on the event loop. `status` adds details to `/status`. A worker
    passes the methods of its `Watchdog`; ingest passes its producer's state, and mounts `routes()` in its own
    application.
    """

    def __init__(
        self,
        metrics: Metrics,
        *,
        ready: Callable[[], Verdict],
        live: Callable[[], Verdict],
        status: Callable[[], Mapping[str, Any]] = _nothing,
    ) -> None:
        self.metrics = metrics
        self._ready = ready
        self._live = live
        self._status = status
        self._shown = verdict_series(metrics)

    def beat(self) -> None:
        """Take the verdicts and set their metrics; the health server calls it about once a second."""
        self._shown(*self.verdicts())

    def verdicts(self) -> tuple[Verdict, Verdict]:
        """Whether it is ready, and whether it is live."""
        return self._ready(), self._live()

    def details(self) -> Mapping[str, Any]:
        """What `/status` shows besides the verdicts."""
        return self._status()

    def routes(self) -> list[Route]:
        """The four routes, to be mounted beside others."""
        return [
            Route("/live", self._answer_live, methods=["GET"]),
            Route("/ready", self._answer_ready, methods=["GET"]),
            Route("/status", self._answer_status, methods=["GET"]),
            Route("/metrics", self._answer_metrics, methods=["GET"]),
        ]

    def app(self, *beside: Route) -> Starlette:
        """The four routes, and those `beside` them, as an application of their own."""
        return Starlette(routes=[*self.routes(), *beside])

    async def _answer_live(self, _request: Request) -> Response:
        return _answer("live", self._live())

    async def _answer_ready(self, _request: Request) -> Response:
        return _answer("ready", self._ready())

    async def _answer_status(self, _request: Request) -> Response:
        ready, live = self._ready(), self._live()
        return JSONResponse(
            {
                "stage": self.metrics.stage,
                "version": __version__,
                "ready": ready.ok,
                "ready_reason": ready.reason,
                "live": live.ok,
                "live_reason": live.reason,
                **self._status(),
            }
        )

    async def _answer_metrics(self, request: Request) -> Response:
        content, content_type = self.metrics.render(request.headers.get("accept", ""))
        return Response(content, headers={"content-type": content_type})


def _answer(question: str, verdict: Verdict) -> JSONResponse:
    return JSONResponse(
        {question: verdict.ok, "reason": verdict.reason},
        status_code=OK if verdict.ok else UNAVAILABLE,
        headers={"cache-control": "no-store"},
    )
