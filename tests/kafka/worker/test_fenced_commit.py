"""A commit carries the generation that it was compared with: read from the code, and seen when it changes beside it."""

from __future__ import annotations

import ast
import asyncio
import inspect
import textwrap
from typing import Any, cast

import pytest
from aiokafka.conn import AIOKafkaConnection
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.protocol.api import Request
from aiokafka.protocol.commit import OffsetCommitRequest
from faust.types import TP

from pipeline.kafka.worker.commits import Committed
from pipeline.kafka.worker.consumer_thread import ConsumerThread
from pipeline.kafka.worker.topic_watch import TopicWatch
from pipeline.settings import Settings

OFFSETS = {TP("webhooks", 0): 5}


class Coordinator(GroupCoordinator):  # type: ignore[misc] # untyped upstream
    """aiokafka's own, with a broker that accepts everything and keeps the requests."""

    def __init__(self) -> None:
        self.group_id, self.generation, self.member_id, self.coordinator_id = "group", 7, "member-7", 0
        self._commit_lock = asyncio.Lock()
        self.sent: list[Any] = []

    async def _send_req(self, request: Any) -> Any:
        """Answer without an error."""
        self.sent.append(request)
        answer: Any = type("Answer", (), {"topics": [("webhooks", [(0, 0)])]})
        return answer

    def joins_again(self) -> None:
        """A rebalance ends: from now on the partitions may be another's."""
        self.generation, self.member_id = 8, "member-8"


def thread(coordinator: Coordinator) -> ConsumerThread:
    """The consumer's thread, as far as a commit needs it."""
    bare = cast("Any", object.__new__(ConsumerThread))
    bare._topics = TopicWatch()
    bare._consumer = type("Consumer", (), {"_coordinator": coordinator})
    bare.app = type("App", (), {"settings": Settings.load()})
    return cast("ConsumerThread", bare)


async def test_a_generation_is_compared_and_sent() -> None:
    """Equal generations are sent, another one is not."""
    coordinator = Coordinator()
    assert await thread(coordinator)._commit_fenced(OFFSETS, 7, {}) is Committed.STORED
    (request,) = coordinator.sent
    assert (request._consumer_group_generation_id, request._consumer_id) == (7, "member-7")
    for generation in (6, 8, -1, 0):
        assert await thread(coordinator)._commit_fenced(OFFSETS, generation, {}) is Committed.STALE
    assert len(coordinator.sent) == 1


@pytest.mark.parametrize("turns", range(6))
async def test_a_rebalance_that_ends_beside_a_commit(turns: int) -> None:
    """In whichever turn of the loop the generation changes: old offsets are never sent under the new one."""
    coordinator = Coordinator()
    committing = asyncio.ensure_future(thread(coordinator)._commit_fenced(OFFSETS, 7, {}))
    for _ in range(turns):
        await asyncio.sleep(0)
    coordinator.joins_again()
    outcome = await committing
    assert [request._consumer_group_generation_id for request in coordinator.sent] == [7] * len(coordinator.sent)
    assert outcome is (Committed.STORED if coordinator.sent else Committed.STALE)


def tree(thing: Any) -> Any:
    """The syntax of a function or class."""
    return ast.parse(textwrap.dedent(inspect.getsource(thing))).body[0]


def suspensions(function: ast.AST) -> list[ast.AST]:
    """Where a coroutine may let others run, in the order of the text; what it only defines is not meant."""
    found: list[ast.AST] = []

    def walk(node: ast.AST) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                continue
            if isinstance(child, ast.Await | ast.AsyncFor | ast.AsyncWith | ast.Yield | ast.YieldFrom):
                found.append(child)
            walk(child)

    walk(function)
    return sorted(found, key=lambda node: (node.lineno, node.col_offset))  # type: ignore[attr-defined]


def reads(node: ast.AST, attribute: str) -> list[ast.Attribute]:
    """Where an attribute of this name is read."""
    return [one for one in ast.walk(node) if isinstance(one, ast.Attribute) and one.attr == attribute]


def test_nothing_awaits_between_the_comparison_and_aiokafkas_commit() -> None:
    """One coroutine compares and then awaits `_do_commit_offsets` itself: a task of its own would begin later."""
    outer = tree(ConsumerThread._commit_fenced)
    inners = [one for one in ast.walk(outer) if isinstance(one, ast.AsyncFunctionDef) and one is not outer]
    (inner,) = [one for one in inners if reads(one, "_do_commit_offsets")]
    (compared,) = [one for one in ast.walk(inner) if isinstance(one, ast.Compare) and reads(one, "generation")]
    (awaited,) = suspensions(inner)
    assert isinstance(awaited, ast.Await)
    assert isinstance(awaited.value, ast.Call)
    assert isinstance(awaited.value.func, ast.Attribute)
    assert awaited.value.func.attr == "_do_commit_offsets"
    assert compared.lineno < awaited.lineno
    assert len(reads(outer, "generation")) == 1, "compared once, and nowhere else"


def test_nothing_awaits_before_aiokafkas_request_is_built() -> None:
    """`_do_commit_offsets` reads generation and member before its first suspension, and only for the request."""
    function = tree(GroupCoordinator._do_commit_offsets)
    (built,) = [
        call
        for call in ast.walk(function)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "OffsetCommitRequest"
    ]
    for attribute in ("generation", "member_id"):
        assert reads(function, attribute) == reads(built, attribute)
        assert len(reads(built, attribute)) == 1
    assert suspensions(function)[0].lineno > built.end_lineno  # type: ignore[attr-defined]


def test_nothing_changes_a_request_on_its_way_to_the_bytes() -> None:
    """Once built it is sent as it is, however long the connection takes: no later step looks at the coordinator."""
    for function in (OffsetCommitRequest.build, Request.prepare, AIOKafkaConnection.send):
        assert not inspect.iscoroutinefunction(function)
        assert not reads(tree(function), "generation")
    stored = [
        node
        for node in ast.walk(tree(OffsetCommitRequest))
        if isinstance(node, ast.Attribute)
        and node.attr in {"_consumer_group_generation_id", "_consumer_id"}
        and isinstance(node.ctx, ast.Store)
    ]
    assert len(stored) == 2, "each is set by the constructor alone"
