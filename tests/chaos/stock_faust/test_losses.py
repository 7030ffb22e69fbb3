"""Each of stock Faust's losses on a real Apache Kafka, and the same records on our transport, where it is none.

A scene that stock Faust comes through fails as well: then upstream has mended it, and the page says something untrue.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final

import pytest

from tests.chaos.stock_faust.catalogue import LOSSES
from tests.chaos.stock_faust.side import Outcome, Side

if TYPE_CHECKING:
    from tests.chaos.stock_faust.conftest import Tell
    from tests.workers import WorkerProcess

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.chaos,
    pytest.mark.skipif(not os.environ.get("CHAOS_SECONDS"), reason="long form: make stock-faust"),
]

Sides = tuple[Side, Side]
Trouble = Callable[[Side], Awaitable[str]]

NEVER_ENDS_S: Final = 30.0
"""So long after SIGTERM an orchestrator's patience is at its end (Kubernetes: 30 s)."""

NEVER_BACK_S: Final = 20.0
"""A group takes a member back within its rebalance, some seconds."""


def records(count: int) -> list[bytes]:
    """Values that tell their place."""
    return [b"%d:" % number for number in range(count)]


async def replaced(side: Side) -> None:
    """A worker without the trouble goes on to the end."""
    worker = side.start()
    await side.done()
    worker.send(signal.SIGKILL)
    await worker.ended()


async def play(
    sides: Sides, trouble: Trouble, values: Sequence[bytes], *, heir: bool = True
) -> tuple[Outcome, Outcome]:
    """The same on both sides: records, trouble, a worker that goes on, the count."""
    found = []
    for side in sides:
        await side.send(values)
        note = await trouble(side)
        if heir:
            await replaced(side)
        found.append(await side.outcome(note))
    return found[0], found[1]


def judge(scene: str, tell: Tell, stock: Outcome, ours: Outcome) -> None:
    """Stock Faust has lost something, ours nothing."""
    assert scene in LOSSES
    tell(scene, stock, ours)
    assert ours.lost == 0
    assert stock.lost > 0


async def gone(worker: WorkerProcess, number: int = signal.SIGKILL) -> int:
    """A signal, and the exit code."""
    worker.send(number)
    return await worker.ended()


async def killed(side: Side, worker: WorkerProcess) -> str:
    """SIGKILL while it hangs; stock Faust's once it has committed all the same."""
    if side.is_stock:
        await side.done()
    await gone(worker)
    return ""


async def went_over(side: Side, worker: WorkerProcess) -> str:
    """Stock Faust goes on over the record to the end, ours ends; the note of it."""
    if side.is_stock:
        return await killed(side, worker)
    return f"exit code {await worker.ended()}"


async def test_an_exception_in_the_agent(sides: Sides, tell: Tell) -> None:
    """Stock: the record is skipped, since it counts as done whatever came of it. Ours: the process ends, none is."""

    async def bug(side: Side) -> str:
        worker = side.start(fail_at="50:")
        return await went_over(side, worker)

    judge("exception", tell, *await play(sides, bug, records(200)))


async def test_an_exception_where_the_worker_is_to_crash(sides: Sides, tell: Tell) -> None:
    """Stock: on its way out the process commits the record that it fell over."""

    async def bug(side: Side) -> str:
        worker = side.start({"agent_supervisor": "mode.supervisors.CrashingSupervisor"}, fail_at="50:")
        return f"exit code {await worker.ended()}"

    judge("supervisor", tell, *await play(sides, bug, records(200)))


async def test_batches_while_the_agent_is_down(sides: Sides, tell: Tell) -> None:
    """Stock: what feeds the batches goes on without an agent, and acknowledges what nobody sees."""

    async def bug(side: Side) -> str:
        worker = side.start(way="batches", fail_at="15:", repair_s="3")
        return await went_over(side, worker)

    judge("take", tell, *await play(sides, bug, records(200)))


async def test_an_exception_before_an_acknowledgement_by_hand(sides: Sides, tell: Tell) -> None:
    """Stock: the next acknowledgement commits past the record that nobody acknowledged."""

    async def bug(side: Side) -> str:
        worker = side.start(way="by_hand", fail_at="0:")
        return await went_over(side, worker)

    judge("by hand", tell, *await play(sides, bug, records(200)))


@pytest.mark.parametrize(("scene", "way"), [("stop", "values"), ("stop in a batch", "batches")])
async def test_sigterm_with_work_in_flight(sides: Sides, tell: Tell, scene: str, way: str) -> None:
    """Stock: what is in flight is broken off, counts as done, and is committed. Ours: the next owner does it."""

    async def stop(side: Side) -> str:
        worker = side.start({"stream_wait_empty": False}, way=way, hang_at="55:")
        await side.hangs(worker)
        return f"exit code {await gone(worker, signal.SIGTERM)}"

    judge(scene, tell, *await play(sides, stop, records(200)))


async def test_sigterm_with_work_that_does_not_end(sides: Sides, tell: Tell) -> None:
    """Stock waits for as long as it takes, until somebody sends SIGKILL. Ours waits for its grace and hands over."""

    async def stop(side: Side) -> str:
        worker = side.start(hang_at="55:")
        await side.hangs(worker)
        worker.send(signal.SIGTERM)
        try:
            async with asyncio.timeout(NEVER_ENDS_S):
                return f"exit code {await worker.ended()}"
        except TimeoutError:
            await gone(worker)
            return f"does not end within {NEVER_ENDS_S:.0f} s"

    stock, ours = await play(sides, stop, records(200))
    tell("no end", stock, ours)
    assert (ours.lost, ours.note) == (0, "exit code 0")
    assert "does not end" in stock.note


async def test_a_head_that_hangs(sides: Sides, tell: Tell) -> None:
    """Stock: the commit goes over the first record, while it is being worked on."""

    async def kill(side: Side) -> str:
        worker = side.start(concurrency="2", hang_at="0:")
        await side.hangs(worker)
        return await killed(side, worker)

    judge("head", tell, *await play(sides, kill, records(200)))


async def test_a_gap_of_offsets(sides: Sides, tell: Tell) -> None:
    """Stock: the marker of a transaction lets the record behind it count as done, while it is being worked on."""

    async def kill(side: Side) -> str:
        worker = side.start(concurrency="2", hang_at="in transaction 1:")
        await side.done()
        await side.send([b"in transaction %d:" % number for number in range(10)], transactions=True)
        await side.send([b"behind:"])
        await side.hangs(worker)
        return await killed(side, worker)

    judge("gap", tell, *await play(sides, kill, records(20)))


async def test_an_unreadable_record(sides: Sides, tell: Tell) -> None:
    """Stock: the record that cannot be read is acknowledged at once, and those before it are committed with it."""

    async def kill(side: Side) -> str:
        worker = side.start(way="json", hang_at='{"id": "0"}')
        await side.hangs(worker)
        if side.is_stock:
            await side.committed_more_than(0)
        await gone(worker)
        side.sent.remove(broken)  # whoever can read it may do with it what he wants
        return ""

    broken = b"{"
    values = [b'{"id": "%d"}' % number for number in range(3)]
    judge("unreadable", tell, *await play(sides, kill, [*values, broken]))


async def test_an_output_that_is_refused(sides: Sides, tell: Tell) -> None:
    """Stock: the refusal is a line in the log, and the input is committed. Ours: the process ends, nothing is."""

    async def refuse(side: Side) -> str:
        await side.allow_output_bytes(200)
        worker = side.start(way="send")
        note = await went_over(side, worker)
        await side.allow_output_bytes(1_000_000)
        return note

    judge("send", tell, *await play(sides, refuse, [*records(20), b"large:" + b"x" * 500, *records(40)[20:]]))


async def test_a_wait_beyond_the_poll_interval(sides: Sides, tell: Tell) -> None:
    """Stock: the member leaves, and is alive and idle from then on. Ours stays a member, however long work takes."""

    async def wait(side: Side) -> str:
        worker = side.start({"broker_max_poll_interval": 5.0, "stream_buffer_maxsize": 5}, hang_at="55:", hang_s="15")
        await side.hangs(worker)
        if side.is_stock:
            await worker.says("SCENE goes on")
        try:
            await side.done(within_s=NEVER_BACK_S if side.is_stock else 120.0)
        except TimeoutError:
            members = await side.members()
            alive = worker.process.poll() is None
            return (
                f"the process is {'alive' if alive else 'dead'}, its group has {members} members, and nothing is read"
            )
        finally:
            await gone(worker)
        return "goes on"

    stock, ours = await play(sides, wait, records(200))
    tell("poll", stock, ours)
    assert (ours.lost, ours.note) == (0, "goes on")
    assert "alive, its group has 0 members" in stock.note


async def test_exactly_once(sides: Sides, tell: Tell) -> None:
    """Stock ends at its first assignment, again and again. Ours is at least once, and ids absorb what is repeated."""

    async def start(side: Side) -> str:
        if not side.is_stock:
            return ""
        worker = side.start({"processing_guarantee": "exactly_once"})
        return f"exit code {await worker.ended()} at the first assignment"

    stock, ours = await play(sides, start, records(20))
    tell("transactions", stock, ours)
    assert ours.lost == 0
    assert "exit code 0" not in stock.note
