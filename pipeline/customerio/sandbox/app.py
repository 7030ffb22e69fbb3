"""The sandbox as one ASGI application."""

from __future__ import annotations

import time
from collections.abc import Callable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pipeline.customerio.sandbox.answers import JSON, as_json
from pipeline.customerio.sandbox.config import SandboxConfig
from pipeline.customerio.sandbox.inspection import Inspection
from pipeline.customerio.sandbox.state import Sandbox
from pipeline.customerio.sandbox.track import PATHS, TrackApi


def create_sandbox(config: SandboxConfig | None = None, *, clock: Callable[[], float] = time.monotonic) -> Starlette:
    """An application to serve; `app.state.sandbox` is its state, for tests in the same process.

    `clock` gives monotonic seconds, by which the rate is counted.
    """
    sandbox = Sandbox(config or SandboxConfig(), clock)
    api = TrackApi(sandbox)
    routes = [Route(path, api, methods=[method]) for path, method in PATHS.items()]
    app = Starlette(
        routes=[*routes, *Inspection(sandbox).routes()], exception_handlers={404: _elsewhere, 405: _elsewhere}
    )
    app.state.sandbox = sandbox
    return app


async def _elsewhere(_request: Request, error: Exception) -> Response:
    """Answer a request for a path or method that the sandbox does not have."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    known = ", ".join(f"{method} {path}" for path, method in PATHS.items())
    return Response(
        as_json({"meta": {"error": f"not found; there is {known} and /__sandbox"}}), status, media_type=JSON
    )
