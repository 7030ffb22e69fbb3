"""No background task ends silently, whatever ends it."""

from __future__ import annotations

import ast
import asyncio
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

import pipeline
from pipeline.errors import ContractViolationError, PipelineError
from pipeline.tasks import (
    ASYNCIO,
    FIRST_S,
    LONGEST_S,
    WELL_AFTER_S,
    BackgroundTask,
    OnEnd,
    TaskFailed,
    Tasks,
    catch_unheard,
)
from tests.virtual import run_virtual

FOREVER = BackgroundTask("of this test: restarted", OnEnd.RESTART)
VITAL = BackgroundTask("of this test: vital", OnEnd.CRASH)
PASSING = BackgroundTask("of this test: told", OnEnd.TELL, returns=True)
UNTIL_DONE = BackgroundTask("of this test: until done", OnEnd.RESTART, returns=True)


async def forever() -> None:
    """Until cancelled."""
    await asyncio.Event().wait()


async def returns() -> None:
    """At once."""


async def raises() -> None:
    """At once."""
    raise RuntimeError("a bug")


async def turns(times: int = 5) -> None:
    """Let callbacks run."""
    for _ in range(times):
        await asyncio.sleep(0)


def killed(task: asyncio.Task[Any]) -> None:
    """Cancelled by somebody who had no business with it."""
    task.cancel()


@pytest.mark.parametrize("work", [returns, raises, None])
async def test_a_vital_task_takes_the_process_along(work: Any) -> None:
    """It returned, failed or was cancelled: the process ends with the error, and the observers hear of it."""
    crashes: list[BaseException] = []
    events: list[Any] = []
    tasks = Tasks(crash=crashes.append, observers=[events.append])
    task = tasks.start(VITAL, work or forever)
    if work is None:
        await turns()
        killed(task)
    await turns()
    (error,) = crashes
    assert events == [TaskFailed(VITAL.name, error)]
    assert isinstance(error, RuntimeError if work is raises else PipelineError)
    await tasks.stop()


def test_another_one_is_started_again_after_longer_and_longer_pauses() -> None:
    """Up to the longest; one that ran for a minute begins with the shortest again."""
    started: list[float] = []

    async def run() -> list[float]:
        events: list[TaskFailed] = []
        loop = asyncio.get_running_loop()

        async def work() -> None:
            started.append(loop.time())
            if len(started) == 12:
                await asyncio.sleep(WELL_AFTER_S + 1)
            raise RuntimeError("a bug")

        tasks = Tasks(observers=[events.append])
        tasks.start(FOREVER, work)
        await asyncio.sleep(20 * LONGEST_S)
        await tasks.stop()
        alive = len(started)
        await asyncio.sleep(10 * LONGEST_S)
        assert len(started) == alive
        return [event.again_in_s or 0.0 for event in events]

    pauses = run_virtual(run())
    assert pauses[:4] == [FIRST_S, 2 * FIRST_S, 4 * FIRST_S, 8 * FIRST_S]
    assert pauses[8] == LONGEST_S
    assert pauses[11] == FIRST_S


def test_cancelled_by_mistake_it_comes_back_as_well() -> None:
    """Somebody cancelled the wrong task."""

    async def run() -> int:
        starts = []

        async def work() -> None:
            starts.append(1)
            await forever()

        tasks = Tasks()
        task = tasks.start(FOREVER, work)
        await turns()
        killed(task)
        await asyncio.sleep(FIRST_S + 0.1)
        await tasks.stop()
        return len(starts)

    assert run_virtual(run()) == 2


async def test_one_that_returns_is_done() -> None:
    """Success is no failure, of one that is told and of one that is tried until it succeeds."""
    events: list[Any] = []
    tasks = Tasks(observers=[events.append])
    for declared in (PASSING, UNTIL_DONE):
        await tasks.start(declared, returns)
        await turns()
    assert not events


async def test_the_owner_is_told() -> None:
    """With the error, once; also when it was cancelled by mistake."""
    told: list[BaseException] = []
    tasks = Tasks()
    tasks.start(PASSING, raises, failed=told.append)
    killed(tasks.start(PASSING, forever, failed=told.append))
    await turns()
    assert [type(error) for error in told] == [RuntimeError, PipelineError]


async def test_a_task_of_somebody_else_is_watched() -> None:
    """Its end is told, until the watch ends."""
    told: list[BaseException] = []
    tasks = Tasks()
    for work in (returns, raises, forever, forever):
        other = asyncio.get_running_loop().create_task(work())
        tasks.watch(PASSING, other, told.append)
        await turns()
        if work is forever:
            if len(told) == 3:
                tasks.let_end()
            killed(other)
            await turns()
    assert [type(error) for error in told] == [PipelineError, RuntimeError, PipelineError]


async def test_who_may_end_is_said_of_those_that_are_there() -> None:
    """Their owner may start others before they have ended: the end of these is news, that of those is not."""
    told: list[BaseException] = []
    tasks = Tasks()
    loop = asyncio.get_running_loop()

    def begin() -> tuple[asyncio.Task[None], asyncio.Task[None]]:
        started, watched = tasks.start(PASSING, forever, failed=told.append), loop.create_task(forever())
        tasks.watch(PASSING, watched, told.append)
        return started, watched

    former = begin()
    tasks.let_end()
    latter = begin()
    await turns()
    for task in former:
        killed(task)
    await turns()
    assert not told
    for task in latter:
        killed(task)
    await turns()
    assert [type(error) for error in told] == [PipelineError, PipelineError]


@pytest.mark.parametrize("how", ["returned", "cancelled", "failed", "stopped"])
async def test_a_task_of_a_framework_is_held(how: str) -> None:
    """One that looks at exceptions alone: what it would overlook is told, an exception is left to it."""
    crashes: list[BaseException] = []
    stopping = how == "stopped"
    work = {"returned": returns, "failed": raises}.get(how, forever)
    holding = asyncio.ensure_future(Tasks(crash=crashes.append).hold(VITAL, work, may_end=lambda: stopping))
    await turns()
    holding.cancel()
    (outcome,) = await asyncio.gather(holding, return_exceptions=True)
    assert isinstance(outcome, RuntimeError) == (how == "failed")
    assert len(crashes) == (how in {"returned", "cancelled"})


async def test_a_stop_is_no_failure_and_a_failure_at_the_stop_is_told() -> None:
    """Those that are told to end may; one that fails on its way out is a line, and nothing follows."""
    crashes: list[BaseException] = []

    async def fails_when_cancelled() -> None:
        try:
            await forever()
        finally:
            raise RuntimeError("on its way out")

    tasks = Tasks(crash=crashes.append)
    tasks.start(VITAL, forever)
    tasks.start(VITAL, fails_when_cancelled)
    await turns()
    with capture_logs() as told:
        await tasks.stop()
    assert [line["log_level"] for line in told] == ["error"]
    assert not crashes


async def test_a_vital_task_needs_somebody_who_ends_the_process() -> None:
    """Else its end would be silent after all."""
    with pytest.raises(ContractViolationError):
        Tasks().start(VITAL, forever)


async def test_two_kinds_have_two_names() -> None:
    """The metric could not tell them apart."""
    with pytest.raises(ContractViolationError):
        BackgroundTask(VITAL.name, OnEnd.RESTART)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_what_only_the_event_loop_hears_of() -> None:
    """An error in a callback of ours ends the process; one of others, and a task that nobody awaits, is counted."""
    loop = asyncio.get_running_loop()
    crashes: list[BaseException] = []
    events: list[Any] = []
    before = loop.get_exception_handler()
    catch_unheard(loop, crash=crashes.append, observers=[events.append])
    try:
        loop.call_soon(int, "no number")
        await turns()
        assert [type(event.error) for event in events] == [ValueError]
        assert not crashes
        forgotten = loop.create_task(raises())
        await turns()
        del forgotten
        assert [event.task for event in events] == [ASYNCIO, ASYNCIO]
        assert not crashes
        loop.call_soon(BackgroundTask, VITAL.name, OnEnd.TELL)
        await turns()
        assert [type(error) for error in crashes] == [ContractViolationError]
    finally:
        loop.set_exception_handler(before)


AWAITED: dict[str, set[str]] = {
    # Each of these is awaited, or looked at, by the function that starts it.
    "customerio/client.py": {"aclose", "_send"},
    "customerio/sandbox/server.py": {"start"},
    "demo/traffic.py": {"send"},
    "ingest/workers/supervisor.py": {"_either", "_end"},
    "interruption.py": {"until_told"},
    "kafka/worker/app.py": {"_while_true"},
    "http/connection.py": {"_begin"},  # a request's: what it raises is answered, and the server's stop waits for it
    "http/server.py": {"_accept"},
    "kafka/closing.py": {"close", "close_unflushed"},
    "kafka/worker/consumer_thread.py": {"_begin_poll", "_commit_fenced", "_in_thread"},
    "kafka/worker/handover.py": {"_within"},
    "kafka/producer/producer.py": {"stop"},
    "kafka/worker/transport.py": {"_offer"},
    "kafka/worker/process.py": {"_run"},
    "statestore/partitions.py": {"_open"},
    "statestore/restore.py": {"_read"},
    "transform/flow.py": {"send"},
    "transform/commits.py": {"_send"},
    "watch/unread.py": {"ask"},
}
STARTS = {"create_task", "ensure_future", "run_coroutine_threadsafe"}


def starts() -> list[tuple[str, str]]:
    """Module and function of every place that starts a task without `pipeline.tasks`."""
    root = Path(pipeline.__file__).parent
    found = []
    for path in sorted(root.rglob("*.py")):
        name = str(path.relative_to(root))
        if name == "tasks.py":
            continue
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                found += [(name, function.name) for node in ast.walk(function) if _starts(node)]
    return found


def _starts(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in STARTS


def test_nobody_starts_a_task_of_his_own() -> None:
    """All are started by `Tasks`, but for those that are awaited where they are started."""
    unknown = sorted({place for place in starts() if place[1] not in AWAITED.get(place[0], set())})
    assert unknown == []
