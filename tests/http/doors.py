"""Every HTTP port that this project opens, with nothing behind it: in this loop, or as a process of its own.

`python -m tests.http.doors NAME` prints the port, and then at every second line that it reads the longest turn of its
event loop that 99 of 100 moments since the line before met, by processor time.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Final

import uvloop

from pipeline.customerio.sandbox.server import SandboxServer
from pipeline.http.server import Server
from pipeline.ingest.app import create_app
from pipeline.ingest.server import _admin, limits_of
from pipeline.settings import Settings
from pipeline.watch.health import Health
from pipeline.watch.metrics import Metrics
from pipeline.watch.server import HealthServer
from pipeline.watch.vitals import Verdict

SECRET: Final = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@dataclass
class Door:
    """One port: a path that answers GET, one that takes bodies."""

    name: str
    port: int
    server: Server
    get: str
    post: str


NAMES: Final = ("ingest", "admin", "watch", "sandbox")


@contextlib.asynccontextmanager
async def opened(name: str, *, observers: Any = ()) -> AsyncIterator[Door]:
    """The port of that name, open."""
    match name:
        case "ingest":
            settings = Settings.load(dodo_webhook_secrets=SECRET)
            app = create_app(settings)
            listener = socket.create_server(("127.0.0.1", 0))
            watching = [app.state.metrics, *observers]
            server = Server(app, listener, limits_of(settings), observers=watching, directs=app.state.directs)
            server.start()
            yield Door(name, listener.getsockname()[1], server, "/live", "/webhooks/dodo")
            await server.stop(10)
        case "admin":
            settings = Settings.load(dodo_webhook_secrets=SECRET, host="127.0.0.1", admin_port=0)
            app = create_app(settings)
            beside = _admin(app.state.admin, settings, app.state.metrics, shared=False)
            assert beside is not None
            beside.start()
            yield Door(name, beside.address[1], beside, "/live", "/live")
            await beside.stop(10)
        case "watch":
            yes = Verdict(ok=True, reason="fine")
            health = HealthServer("127.0.0.1", 0, Health(Metrics("sink"), ready=lambda: yes, live=lambda: yes))
            await health.start()
            assert health._server is not None
            yield Door(name, health.bound_port, health._server, "/live", "/live")
            await health.stop()
        case _:
            async with SandboxServer() as sandbox:
                port = int(sandbox.url.rsplit(":", 1)[1])
                yield Door("sandbox", port, sandbox._server, "/__sandbox", "/api/v2/batch")


SHOWN: Final = "@ "
"""Before what is meant for the test: the rest of the output is the log."""


class Turns:
    """How long turns of the event loop take, by processor time in steps of a quarter; it keeps the loop busy.

    A turn counts by its length: whoever asks meets a long one more often. Between long turns the loop makes thousands
    of short ones, so that by their number alone no attack would be seen.
    """

    def __init__(self) -> None:
        self._spent: defaultdict[int, float] = defaultdict(float)
        self._on = False

    def start(self) -> None:
        """Measure."""
        self._spent.clear()
        self._on = True
        asyncio.get_running_loop().call_soon(self._turn, time.thread_time())

    def stop(self) -> float:
        """Measure no more; the length of the turns, in seconds, that 99 of 100 moments lay in at most."""
        self._on = False
        left = sum(self._spent.values()) / 100
        for step, spent in sorted(self._spent.items(), reverse=True):
            left -= spent
            if left < 0:
                return float(1.25**step / 1e6)
        return 0.0

    def _turn(self, before: float) -> None:
        now = time.thread_time()
        self._spent[math.ceil(math.log(max(1e6 * (now - before), 1), 1.25))] += now - before
        if self._on:
            asyncio.get_running_loop().call_soon(self._turn, now)


async def _run(name: str) -> None:
    turns = Turns()
    asking = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(asking), sys.stdin)
    async with opened(name) as door:
        sys.stdout.write(f"{SHOWN}{door.port}\n")
        sys.stdout.flush()
        while await asking.readline():
            turns.start()
            await asking.readline()
            sys.stdout.write(f"{SHOWN}{turns.stop()}\n")
            sys.stdout.flush()


def in_a_thread(name: str, stop: Callable[[Callable[[], object]], None], started: Callable[[Door], None]) -> None:
    """Serve in a loop of this thread's until what `stop` was given is called."""

    async def serve() -> None:
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        stop(lambda: loop.call_soon_threadsafe(ended.set))
        async with opened(name) as door:
            started(door)
            await ended.wait()

    uvloop.run(serve())


if __name__ == "__main__":
    uvloop.run(_run(sys.argv[1]))
