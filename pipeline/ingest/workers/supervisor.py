"""The supervisor: starts workers, replaces those that end, answers probes for all of them, and stops them together.

The first worker starts alone: what is wrong with settings, topics or brokers is then reported once, and ends the whole
with the worker's exit code. Later a worker that ends, or does not come up, is replaced, after longer and longer pauses.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import orjson

import pipeline
from pipeline import logs, signals
from pipeline.errors import PipelineError
from pipeline.http.bind import reserve
from pipeline.ingest.workers.addresses import announce
from pipeline.ingest.workers.answers import events, live, ready, status
from pipeline.ingest.workers.process import Worker
from pipeline.ingest.workers.series import worker_series
from pipeline.ingest.workers.wire import Reply
from pipeline.settings import PREFIX, Settings
from pipeline.tasks import BackgroundTask, OnEnd, Tasks, catch_unheard
from pipeline.watch.health import verdict_series
from pipeline.watch.metrics import Metrics
from pipeline.watch.page.document import STAGE_PATH, Look
from pipeline.watch.page.own import Own
from pipeline.watch.summed import counts, families, render, summed
from pipeline.watch.vitals import Verdict

log = logs.get(__name__)

WORKER: Final = BackgroundTask("ingest worker", OnEnd.CRASH, returns=True)
ANSWERING: Final = BackgroundTask("answer for all workers", OnEnd.TELL, returns=True)

STOP_WITHIN_S: Final = 20.0
"""For a worker to end, beside its draining: requests in flight (8 s) and its producer (4 s), and room for a busy
machine. Then it is killed."""

FIRST_S: Final = 0.5
LONGEST_S: Final = 30.0
WELL_AFTER_S: Final = 60.0
"""Pauses before a worker is replaced; one that served for so long was well, and is replaced after the shortest."""

ORDERS: Final = ("stop", "now", "give up")
"""What the first signal, the second and every later one order; Ctrl-C begins with the second."""


class Supervisor:
    """Starts, replaces and stops the workers, and answers their probes."""

    def __init__(self, settings: Settings, say: Callable[[str], None]) -> None:
        self._settings = settings
        self._say = say
        self._metrics = Metrics("ingest")
        self._serving, self._replaced = worker_series(self._metrics)
        self._shown = verdict_series(self._metrics)
        self._tasks = Tasks(crash=self._crash, observers=[self._metrics])
        self._own = Own("ingest", self._look)
        self._ended: Counter[Any] = Counter()
        self._workers = [Worker(number) for number in range(1, settings.ingest_workers + 1)]
        self._first = asyncio.Event()
        self._done = asyncio.Event()
        self._orders = 0
        self._failure: BaseException | None = None
        self._exit_code = 0
        self._port = 0
        self._admin_port: int | None = None

    @property
    def stopping(self) -> bool:
        """Whether the end was ordered."""
        return self._orders > 0

    async def run(self) -> int:
        """Serve until SIGTERM or SIGINT; the exit code.

        Raises:
            ConfigurationError: the address cannot be listened on, or not by several processes.
        """
        settings = self._settings
        holder = reserve(settings.host, settings.port_of("ingest"))
        self._port = holder.getsockname()[1]
        admin_holder = None
        if settings.admin_port is not None:
            admin_holder = reserve(settings.host, settings.admin_port, setting="PIPELINE_ADMIN_PORT")
            self._admin_port = admin_holder.getsockname()[1]
        loop = asyncio.get_running_loop()
        catch_unheard(loop, crash=self._crash, observers=[self._metrics])
        held = contextlib.closing(admin_holder) if admin_holder is not None else contextlib.nullcontext()
        with contextlib.closing(holder), held, signals.listening(loop.call_soon_threadsafe, self._signalled):
            self._tasks.start(WORKER, partial(self._keep, self._workers[0]), which=1)
            await _either(self._first, self._done)
            if not self._done.is_set():
                announce(settings, self._port, self._admin_port, self._say)
                for worker in self._workers[1:]:
                    self._tasks.start(WORKER, partial(self._keep, worker), which=worker.number)
            await self._done.wait()
            await self._end()
        if self._failure is not None:
            raise PipelineError(f"ingest ended itself: {self._failure!r}") from self._failure
        return self._exit_code

    def _signalled(self, number: int) -> None:
        at = max(self._orders, 1 if number == signal.SIGINT else 0)
        self._orders = at + 1
        for worker in self._workers:
            worker.order(ORDERS[min(at, len(ORDERS) - 1)])
        self._done.set()

    def _crash(self, error: BaseException) -> None:
        self._failure = self._failure or error
        self._signalled(signal.SIGTERM)

    async def _end(self) -> None:
        """Wait for the workers, which have their orders; kill those that do not end."""
        self._orders = max(self._orders, 1)
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(self._tasks.stop)
            running = [one.process for one in self._workers if one.process is not None]
            waiting = [asyncio.ensure_future(process.wait()) for process in running]
            if waiting:
                _, late = await asyncio.wait(waiting, timeout=self._settings.drain_seconds + STOP_WITHIN_S)
                if late:
                    log.warning("workers that do not end are killed", workers=len(late))
                for process in running:
                    if process.returncode is None:
                        process.kill()
                await asyncio.wait(waiting)
        log.info("every worker has ended")

    # --- one worker -----------------------------------------------------------------------------------------------

    async def _keep(self, worker: Worker) -> None:
        """Keep a process of this worker running until the end."""
        pause_s = FIRST_S
        while True:
            code = await self._one(worker)
            if self.stopping:
                return
            if not self._first.is_set():
                self._exit_code = code if code > 0 else 1
                self._done.set()
                return
            served_s = 0.0 if worker.served_at is None else time.monotonic() - worker.served_at
            pause_s = FIRST_S if served_s > WELL_AFTER_S else pause_s
            log.error(
                "a worker ended, another one takes its place",
                worker=worker.number,
                exit_code=code,
                served_s=round(served_s, 1),
                again_in_s=pause_s,
            )
            self._replaced.inc()
            if await _came_within(self._done, pause_s):
                return
            pause_s = min(2 * pause_s, LONGEST_S)

    async def _one(self, worker: Worker) -> int:
        """One process, from its start to its end; its exit code, negative for a signal."""
        heard, asked = partial(self._heard, worker), partial(self._asked, worker)
        try:
            return await worker.run(self._environment(), heard, asked, stopping=lambda: self.stopping)
        finally:
            self._ended.update(counts(worker.series))
            worker.series = []
            self._serving.set(sum(one.serves for one in self._workers))

    def _environment(self) -> dict[str, str]:
        """That of this process, with what its command line set; the package is this one, in any directory."""
        paths = [str(Path(pipeline.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
        told = {
            f"{PREFIX}HOST": self._settings.host,
            f"{PREFIX}PORT": str(self._port),
            f"{PREFIX}INGEST_WORKERS": str(len(self._workers)),
            **({} if self._admin_port is None else {f"{PREFIX}ADMIN_PORT": str(self._admin_port)}),
        }
        in_files = {f"{variable}_FILE" for variable in told}  # both are an error
        kept = {variable: value for variable, value in os.environ.items() if variable not in in_files}
        return {**kept, **told, "PYTHONPATH": os.pathsep.join(filter(None, paths))}

    def _heard(self, worker: Worker, _: Any) -> None:
        """Handle the report that a worker serves."""
        worker.served_at = time.monotonic()
        self._serving.set(sum(one.serves for one in self._workers))
        self._first.set()
        log.info("a worker serves", worker=worker.number, pid=worker.process.pid if worker.process else None)

    # --- probes ---------------------------------------------------------------------------------------------------

    def _asked(self, _: Worker, question: Any, reply: Reply) -> None:
        path, accept = question
        self._tasks.start(ANSWERING, partial(self._answer, path, accept, reply), which=path)

    async def _answer(self, path: str, accept: str, reply: Reply) -> None:
        """Reply for all workers: status, content type and content."""
        if path == STAGE_PATH:
            document = await self._own.document()
            reply([200, "application/json", document.model_dump_json()])
            return
        serving = [worker for worker in self._workers if worker.serves]
        said = await asyncio.gather(*(worker.answer(path) for worker in serving))
        wanted, stopping = len(self._workers), self.stopping
        match path:
            case "/metrics":
                # One that hangs says nothing, and its last series say that it is well.
                self._shown(ready(said, wanted, stopping=stopping), live(said, wanted))
                own = families(self._metrics.render()[0].decode())
                content, content_type = render([own, *(one.series for one in serving)], dict(self._ended), accept)
                reply([200, content_type, content.decode()])
            case "/status":
                reply([200, "application/json", orjson.dumps(status(said, wanted, stopping=stopping)).decode()])
            case "/live":
                reply(_verdict("live", live(said, wanted)))
            case _:
                reply(_verdict("ready", ready(said, wanted, stopping=stopping)))

    async def _look(self) -> Look:
        """What the status page shows of all workers."""
        serving = [worker for worker in self._workers if worker.serves]
        said = await asyncio.gather(*(worker.answer(STAGE_PATH) for worker in serving))
        wanted = len(self._workers)
        series = summed([one.series for one in serving], dict(self._ended))
        return Look(
            ready(said, wanted, stopping=self.stopping), live(said, wanted), series.collect(), events=events(said)
        )


def _verdict(question: str, verdict: Verdict) -> list[Any]:
    content = orjson.dumps({question: verdict.ok, "reason": verdict.reason}).decode()
    return [200 if verdict.ok else 503, "application/json", content]


async def _either(*events: asyncio.Event) -> None:
    """Wait for one of them."""
    waiting = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for one in waiting:
            one.cancel()


async def _came_within(event: asyncio.Event, seconds: float) -> bool:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()
