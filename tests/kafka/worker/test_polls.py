"""Polls and questions: asked from the event loop, answered by the consumer's thread."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from faust.types import TP

from pipeline.kafka.worker.commits import Committed
from pipeline.kafka.worker.consumer_thread import ConsumerThread


class Driver:
    """A consumer that is never asked itself."""

    _max_poll_records = 7


class Thread(ConsumerThread):
    """One whose driver answers as a test says, in a thread of its own."""

    def __init__(self) -> None:
        self._polls = set()
        self._asking = threading.Lock()
        self.parent_loop = asyncio.get_running_loop()
        self.thread_loop = asyncio.new_event_loop()
        self._runner = threading.Thread(target=self.thread_loop.run_forever, daemon=True)
        self._runner.start()
        self.asked: list[tuple[Any, ...]] = []
        self.begun, self.is_over = threading.Event(), threading.Event()
        self.answer: Any = {}

    def _ensure_consumer(self) -> Any:
        return Driver

    async def _fetch_records(self, *arguments: Any, **options: Any) -> Any:
        self.asked.append((threading.current_thread(), arguments, options))
        self.begun.set()
        try:
            if isinstance(self.answer, BaseException):
                raise self.answer
            if self.answer is None:
                await asyncio.Event().wait()
            return self.answer
        finally:
            self.is_over.set()

    def cancel_all(self) -> None:
        """What a thread that stops does with what it has under way."""
        for task in asyncio.all_tasks(self.thread_loop):
            task.cancel()

    async def end(self) -> None:
        """End the thread."""
        if self.ended:
            return
        self.thread_loop.call_soon_threadsafe(self.thread_loop.stop)
        await asyncio.to_thread(self._runner.join)
        self.thread_loop.close()


@pytest.fixture
async def thread() -> AsyncIterator[Thread]:
    """A running one."""
    thread = Thread()
    yield thread
    await thread.end()


async def test_records_come_from_the_thread(thread: Thread) -> None:
    """The driver is asked there, once a poll, for as many as it was made for."""
    thread.answer = {"tp": ["record"]}
    assert await thread.getmany({"tp"}, 1.5) == {"tp": ["record"]}  # type: ignore[arg-type]
    asked_in, *asked = thread.asked.pop()
    assert asked_in is not threading.current_thread()
    assert asked == [(Driver, {"tp"}), {"timeout": 1.5, "max_records": 7}]
    assert not thread.asked


async def test_an_error_is_the_poll_s(thread: Thread) -> None:
    """What the driver raises is raised by who asked."""
    thread.answer = ValueError("refused")
    with pytest.raises(ValueError, match="refused"):
        await thread.getmany(set(), 1.0)


async def test_who_asked_may_be_gone(thread: Thread) -> None:
    """A poll whose asker was cancelled ends for itself, and the next one is answered."""
    thread.answer = None
    asking = asyncio.ensure_future(thread.getmany(set(), 1.0))
    await asyncio.to_thread(thread.begun.wait)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    (poll,) = thread._polls
    thread.thread_loop.call_soon_threadsafe(poll.cancel)
    await asyncio.to_thread(thread.is_over.wait)
    thread.answer = {"tp": []}
    assert await thread.getmany(set(), 1.0) == {"tp": []}


async def test_the_thread_s_end_is_the_poll_s(thread: Thread) -> None:
    """Nobody waits for a poll of a thread that stops."""
    thread.answer = None
    asking = asyncio.ensure_future(thread.getmany(set(), 1.0))
    await asyncio.to_thread(thread.begun.wait)
    thread.thread_loop.call_soon_threadsafe(thread._end_polls)
    with pytest.raises(asyncio.CancelledError):
        await asking


async def test_a_poll_that_fails_when_the_event_loop_has_ended(thread: Thread) -> None:
    """Its error is nobody's any more: a worker that ends with one line prints no second one, with a traceback."""
    heard: list[Any] = []
    thread.thread_loop.set_exception_handler(lambda _, context: heard.append(context))
    thread.parent_loop = asyncio.new_event_loop()
    thread.parent_loop.close()
    thread.answer = ValueError("refused")
    nobody: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    thread.thread_loop.call_soon_threadsafe(thread._begin_poll, nobody, Driver, set(), 1.0)
    await asyncio.to_thread(thread.is_over.wait)
    await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(asyncio.sleep(0), thread.thread_loop))
    assert not thread._polls
    gc.collect()
    await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(asyncio.sleep(0), thread.thread_loop))
    assert heard == []


QUESTIONS: dict[str, tuple[Callable[[Thread], Awaitable[Any]], Any]] = {
    "_log_bounds": (lambda thread: thread.log_bounds(), {}),
    "_notes": (lambda thread: thread.notes("operations"), None),
    "_commit_fenced": (lambda thread: thread.commit_fenced({TP("operations", 0): 1}, 1), Committed.UNAVAILABLE),
}


@pytest.mark.parametrize("asked", QUESTIONS)
async def test_a_thread_that_ends_has_no_answer(thread: Thread, monkeypatch: pytest.MonkeyPatch, asked: str) -> None:
    """Before or while it is asked: that is an answer, and not a cancellation of whoever asked."""
    begun = threading.Event()

    async def waits(*_: Any) -> None:
        begun.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(thread, asked, waits)
    ask, without = QUESTIONS[asked]
    asking = asyncio.ensure_future(ask(thread))
    await asyncio.to_thread(begun.wait)
    thread.thread_loop.call_soon_threadsafe(thread.cancel_all)
    assert await asking == without

    cancelled = asyncio.ensure_future(ask(thread))
    await asyncio.sleep(0)
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(asyncio.sleep(0), thread.thread_loop))

    await thread.end()
    assert await ask(thread) == without


@pytest.mark.parametrize("asked", QUESTIONS)
async def test_a_thread_that_ends_is_asked_nothing(thread: Thread, monkeypatch: pytest.MonkeyPatch, asked: str) -> None:
    """What came behind the last look at what is under way would be lost with the loop: who asks hears it at once."""
    begun: list[Any] = []

    async def waits(*_: Any) -> None:
        begun.append(asked)
        await asyncio.Event().wait()

    monkeypatch.setattr(thread, asked, waits)
    ask, without = QUESTIONS[asked]
    stands_still, goes_on = threading.Event(), threading.Event()

    async def ends() -> None:
        stands_still.set()
        goes_on.wait()
        await thread._answer_no_more()
        await thread._gather_remaining_tasks()

    ending = asyncio.wrap_future(asyncio.run_coroutine_threadsafe(ends(), thread.thread_loop))
    await asyncio.to_thread(stands_still.wait)
    before = [asyncio.ensure_future(ask(thread)), asyncio.ensure_future(thread.getmany(set(), 1.0))]
    thread.answer = None
    await asyncio.sleep(0)
    goes_on.set()
    await ending
    async with asyncio.timeout(300):
        question, poll = await asyncio.gather(*before, return_exceptions=True)
        assert question == without
        assert isinstance(poll, asyncio.CancelledError)
        begun.clear()
        thread.asked.clear()
        assert await ask(thread) == without
        with pytest.raises(asyncio.CancelledError):
            await thread.getmany(set(), 1.0)
    assert begun == thread.asked == []
