"""Background tasks: none of them ends without somebody hearing of it.

An exception in an asyncio task that nobody awaits is kept until the task is thrown away, and then a log line; a task
that is cancelled by mistake, or returns, is not even that. What the task did is simply not done any more. So each task
of this project is declared with what its end means, and started here: the end ends the process, or the task is started
again, or its owner is informed and does the rest. Each end is a log line and a `TaskFailed` for the observers.

What a task of one process does is in its module; `DECLARED` has them all once their modules are imported.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from traceback import walk_tb
from typing import Any, Final, TypeVar

from pipeline import logs
from pipeline.errors import ContractViolationError, PipelineError
from pipeline.observers import tell

FIRST_S: Final = 0.5
"""Before a task is started again; doubled at each further failure."""

LONGEST_S: Final = 30.0
CANCEL_AGAIN_S: Final = 1.0
WELL_AFTER_S: Final = 60.0
"""A task that ran for so long was well: its next failure is a first one."""

ASYNCIO: Final = "asyncio"
"""The task of an error that only the event loop heard of."""

HERE: Final = str(Path(__file__).parent)

T = TypeVar("T")

log = logs.get(__name__)


class OnEnd(Enum):
    """What it means when a task ends that nobody ended."""

    CRASH = auto()
    """Without it the process does its work no longer, or wrong: it ends, and Kafka redelivers to the next one."""
    RESTART = auto()
    """It is started again, after longer and longer pauses; nothing of it is needed in the meantime."""
    TELL = auto()
    """Its owner hears of it and acts, or nothing is lost by it."""


@dataclass(frozen=True, slots=True)
class BackgroundTask:
    """A kind of task: `name` is the metric's label; one that `returns` has done its work then, and has not ended."""

    name: str
    on_end: OnEnd
    returns: bool = False

    def __post_init__(self) -> None:
        if DECLARED.setdefault(self.name, self) != self:
            raise ContractViolationError(f"two background tasks are called {self.name}")


DECLARED: Final[dict[str, BackgroundTask]] = {}
"""Each task of the modules that were imported, by name."""


@dataclass(frozen=True, slots=True)
class TaskFailed:
    """A background task ended that nobody ended; `again_in_s` is when it is started again, None for never."""

    task: str
    error: BaseException
    again_in_s: float | None = None


Observer = Callable[[Any], None]
Work = Callable[[], Coroutine[Any, Any, Any]]


class Tasks:
    """The background tasks of one owner. Belongs to one event loop.

    Args:
        crash: ends the process with an error, from code that cannot await; needed for tasks that are declared so.
        observers: see a `TaskFailed` for each end.
    """

    def __init__(
        self, *, crash: Callable[[BaseException], None] | None = None, observers: Sequence[Observer] = ()
    ) -> None:
        self._crash = crash
        self._observers = observers
        self._running: dict[asyncio.Task[Any], _Run] = {}
        self._watched: set[_Run] = set()
        self._pauses: set[asyncio.TimerHandle] = set()

    def start(
        self,
        declared: BackgroundTask,
        work: Work,
        *,
        which: object = "",
        failed: Callable[[BaseException], None] | None = None,
    ) -> asyncio.Task[Any]:
        """Run `work()` in the background until `stop`.

        Args:
            declared: what kind of task it is.
            work: makes the coroutine, once for each start.
            which: distinguishes tasks of a kind, in the log and in the task's name.
            failed: called with the error of a task that is declared `TELL`.

        Raises:
            ContractViolationError: it is to end the process, and there is no function for that.
        """
        if declared.on_end is OnEnd.CRASH and self._crash is None:
            raise ContractViolationError(f"the end of {declared.name} must end the process, and nothing would")
        return self._start(_Run(declared, work, f"{declared.name} {which}".rstrip(), failed))

    def watch(
        self,
        declared: BackgroundTask,
        task: asyncio.Task[Any],
        failed: Callable[[BaseException], None],
    ) -> None:
        """Report the end of a task that somebody else started (declared `TELL`), and will end."""
        run = _Run(declared, None, declared.name, failed)
        self._watched.add(run)
        task.add_done_callback(lambda done: self._watched_ended(run, done))

    async def hold(self, declared: BackgroundTask, work: Work, *, may_end: Callable[[], bool]) -> None:
        """Run `work()` in this task, which a framework has started that looks at its exceptions and at nothing else."""
        run = _Run(declared, work, declared.name, None)
        try:
            await work()
        except asyncio.CancelledError:
            if not may_end():
                self._told(run, _cancelled(run), None)
            raise
        if not may_end():
            self._told(run, _returned(run), None)

    def let_end(self, *tasks: asyncio.Task[Any]) -> None:
        """The ends of these tasks are expected from now on: the caller ends them. None: all that run or will again.

        It holds for them alone: what the owner starts or watches later may not end, however long these take to.
        """
        if not tasks:
            for run in (*self._running.values(), *self._watched):
                run.may_end = True
            for pause in self._pauses:
                pause.cancel()
            self._pauses.clear()
        for task in tasks:
            self._running.pop(task, None)

    async def ended(self, declared: BackgroundTask) -> None:
        """Return when no task of this kind runs."""
        if tasks := [task for task, run in self._running.items() if run.declared is declared]:
            await asyncio.wait(tasks)

    async def stop(self) -> None:
        """End all of them, and return when they have ended."""
        self.let_end()
        tasks = set(self._running)
        while tasks:  # a client that swallows a cancellation goes on as if nothing had been
            for task in tasks:
                task.cancel()
            _, tasks = await asyncio.wait(tasks, timeout=CANCEL_AGAIN_S)

    def _start(self, run: _Run) -> asyncio.Task[Any]:
        assert run.work is not None  # noqa: S101 - a watched task is started by somebody else
        loop = asyncio.get_running_loop()
        run.began_at = loop.time()
        task = loop.create_task(run.work(), name=run.name)
        self._running[task] = run
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        run = self._running.pop(task, None)
        if run is None or (run.may_end and (task.cancelled() or task.exception() is None)):
            return
        if run.may_end:  # it failed on its way out: worth a line, and nothing follows
            self._say(run, _error_of(task, run), None)
            return
        if run.declared.returns and not task.cancelled() and task.exception() is None:
            return
        error = _error_of(task, run)
        again_in_s = self._again_in_s(run) if run.declared.on_end is OnEnd.RESTART else None
        self._told(run, error, again_in_s)

    def _watched_ended(self, run: _Run, task: asyncio.Task[Any]) -> None:
        self._watched.discard(run)
        if not run.may_end:
            self._told(run, _error_of(task, run), None)

    def _again_in_s(self, run: _Run) -> float:
        loop = asyncio.get_running_loop()
        run.failures = 0 if loop.time() - run.began_at > WELL_AFTER_S else run.failures
        pause_s = min(FIRST_S * 2.0**run.failures, LONGEST_S)
        run.failures += 1

        def again() -> None:
            self._pauses.discard(pause)
            self._start(run)

        pause = loop.call_later(pause_s, again)
        self._pauses.add(pause)
        return pause_s

    def _told(self, run: _Run, error: BaseException, again_in_s: float | None) -> None:
        self._say(run, error, again_in_s)
        if run.declared.on_end is OnEnd.CRASH and self._crash is not None:
            self._crash(error)
        if run.failed is not None:
            run.failed(error)

    def _say(self, run: _Run, error: BaseException, again_in_s: float | None) -> None:
        tell(self._observers, TaskFailed(run.declared.name, error, again_in_s))
        if run.declared.on_end is OnEnd.CRASH and not run.may_end:
            log.error("A background task ended, and with it the process", task=run.name)  # which says why at its end
        else:
            bug = None if isinstance(error, PipelineError) else error
            log.error("A background task ended", task=run.name, error=repr(error), again_in_s=again_in_s, exc_info=bug)


@dataclass(slots=True, eq=False)
class _Run:
    declared: BackgroundTask
    work: Work | None
    name: str
    failed: Callable[[BaseException], None] | None
    began_at: float = 0.0
    failures: int = 0
    may_end: bool = False


def _error_of(task: asyncio.Future[Any], run: _Run) -> BaseException:
    return _cancelled(run) if task.cancelled() else task.exception() or _returned(run)


def _cancelled(run: _Run) -> PipelineError:
    return PipelineError(f"the background task {run.name} was cancelled, and nobody said that it may end")


def _returned(run: _Run) -> PipelineError:
    return PipelineError(f"the background task {run.name} returned, and should not")


def catch_unheard(
    loop: asyncio.AbstractEventLoop,
    *,
    crash: Callable[[BaseException], None],
    observers: Sequence[Observer] = (),
) -> None:
    """Hear of what only the event loop hears of: errors in callbacks, and of tasks that nobody awaits.

    An error out of a callback of this project ends the process: what it should have done (an acknowledgement, the start
    of what comes next) is not done, and nobody knows. Everything else is reported and counted.
    """

    def handle(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        told = str(context.get("message", ""))
        log.error("The event loop met an error that nobody handles", what=told, error=repr(error), exc_info=error)
        if not isinstance(error, BaseException):
            return
        tell(observers, TaskFailed(ASYNCIO, error))
        in_callback = "handle" in context
        if in_callback and _is_ours(error):
            crash(error)

    loop.set_exception_handler(handle)


def _is_ours(error: BaseException) -> bool:
    """Whether the error came through a line of this project."""
    with suppress(AttributeError):
        return any(frame.f_code.co_filename.startswith(HERE) for frame, _ in walk_tb(error.__traceback__))
    return False
