"""The worker's own side: it takes the supervisor's orders, reports its state, and passes probes on."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pipeline.errors import ConfigurationError
from pipeline.ingest.workers.wire import LostError, Reply, Wire
from pipeline.watch.health import Health
from pipeline.watch.page.document import STAGE_PATH, Event, StageDocument
from pipeline.watch.page.own import Own

WIRE_FD: Final = 0
"""A worker's standard input is its end of the wire."""

RELAY_WITHIN_S: Final = 5.0
"""For the supervisor, which asks the other workers."""


class Member:
    """A worker of a supervisor."""

    def __init__(self) -> None:
        self._wire: Wire | None = None
        self._health: Health | None = None
        self._recent: Callable[[], Iterable[Event]] = tuple
        self._obey: Callable[[str], None] = self._note
        self._orders: list[str] = []

    async def join(self) -> None:
        """Take the wire up.

        Raises:
            ConfigurationError: there is none: somebody else than a supervisor has started this process.
        """
        try:
            end = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, fileno=os.dup(WIRE_FD))
            end.getpeername()
        except OSError:
            raise ConfigurationError(
                "--worker is for the processes that `dodo-cio ingest --workers` starts itself"
            ) from None
        end.setblocking(False)
        wire = Wire(self._heard, self._answer, lambda: self._heard("stop"))
        await asyncio.get_running_loop().create_unix_connection(lambda: wire, sock=end)
        self._wire = wire

    def obey(self, order: Callable[[str], None]) -> None:
        """From here on `order` is called with each order of the supervisor, earlier ones included, or with its end."""
        self._obey = order
        for one in self._orders:
            order(one)

    def serving(self) -> None:
        """Report that webhooks are taken."""
        if self._wire is not None:
            self._wire.tell("serving")

    def routes(self, health: Health) -> list[Route]:
        """The routes of `health`, answered for all workers; by this one for itself when there is no supervisor."""
        self._health = health
        return [Route(route.path, self._relayed(route), methods=["GET"]) for route in health.routes()]

    def document(self, own: Own, recent: Callable[[], Iterable[Event]]) -> Callable[[], Awaitable[StageDocument]]:
        """What the status page shows of all workers; of this one alone when there is no supervisor.

        Args:
            own: this worker's.
            recent: its last events, for the supervisor.
        """
        self._recent = recent

        async def document() -> StageDocument:
            try:
                if self._wire is None:
                    raise LostError  # noqa: TRY301 - one place answers without it
                _, _, content = await self._wire.ask([STAGE_PATH, ""], RELAY_WITHIN_S)
            except (LostError, TimeoutError):
                return await own.document()
            return StageDocument.model_validate_json(content)

        return document

    def _relayed(self, own: Route) -> Callable[[Request], Any]:
        async def answer(request: Request) -> Response:
            try:
                if self._wire is None:
                    raise LostError  # noqa: TRY301 - one place answers without it
                asked = [own.path, request.headers.get("accept", "")]
                status, content_type, content = await self._wire.ask(asked, RELAY_WITHIN_S)
            except (LostError, TimeoutError):
                answered: Response = await own.endpoint(request)
                return answered
            return Response(content, status, {"content-type": content_type, "cache-control": "no-store"})

        return answer

    def _note(self, order: str) -> None:
        self._orders.append(order)

    def _heard(self, order: str) -> None:
        self._obey(order)

    def _answer(self, question: Any, reply: Reply) -> None:
        """How this process is."""
        health = self._health
        if health is None:
            reply(None)
            return
        ready, live = health.verdicts()
        reply(
            {
                "ready": [ready.ok, ready.reason],
                "live": [live.ok, live.reason],
                "status": health.details(),
                "metrics": "" if question == "state" else health.metrics.render()[0].decode(),
                "events": [event.model_dump() for event in self._recent()] if question == "page" else [],
            }
        )
