"""Memory of records that wait."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.sink.memory import LENT_BYTES, Memory


async def waiting(memory: Memory, size: int) -> asyncio.Task[bool]:
    """A task that waits for `size` bytes."""
    task = asyncio.create_task(memory.take(size))
    await asyncio.sleep(0)
    assert not task.done()
    return task


@given(st.lists(st.integers(0, 150), max_size=50))
def test_bounded(sizes: list[int]) -> None:
    """Taken bytes exceed the budget only when one record alone is larger."""
    memory = Memory(100)
    held: list[int] = []
    for size in sizes:
        while not memory.try_take(size):
            memory.release(held.pop(0))
        held.append(size)
        assert memory.taken_bytes == sum(held)
        assert memory.taken_bytes <= 100 or len([one for one in held if one]) == 1


async def test_larger_than_the_budget_passes_alone() -> None:
    """A record larger than the whole budget waits until it is alone, and then passes."""
    memory = Memory(100)
    assert memory.try_take(10)
    task = await waiting(memory, 1000)
    memory.release(10)
    assert await task
    assert not memory.try_take(1)
    memory.release(1000)
    assert memory.try_take(100)


async def test_first_come_first_served() -> None:
    """A small record does not overtake a large one that waits."""
    memory = Memory(100)
    assert memory.try_take(60)
    large = await waiting(memory, 80)
    assert not memory.try_take(1)
    small = await waiting(memory, 1)
    memory.release(60)
    assert await large
    assert await small


async def test_interrupt() -> None:
    """Whoever waits is told when the partitions go, and holds nothing."""
    memory = Memory(100)
    assert memory.try_take(100)
    task = await waiting(memory, 50)
    memory.interrupt()
    assert not await task
    memory.release(100)
    assert memory.taken_bytes == 0


@pytest.mark.parametrize("granted", [False, True])
async def test_cancelled(*, granted: bool) -> None:
    """A waiter that is cancelled holds nothing, granted in the same turn or not, and those behind it go on."""
    memory = Memory(100)
    assert memory.try_take(100)
    first = await waiting(memory, 100)
    second = await waiting(memory, 30)
    if granted:
        memory.release(100)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    if not granted:
        memory.release(100)
    assert await second
    assert memory.taken_bytes == 30


async def test_lent() -> None:
    """While nothing succeeds one waiter at a time passes beyond the budget, up to a bound, and the rest waits on."""
    memory = Memory(100)
    assert memory.try_take(100)
    first = await waiting(memory, 50)
    second = await waiting(memory, 50)
    memory.lend()
    assert await first
    assert not second.done()
    assert memory.taken_bytes == 150
    memory.release(100)
    assert await second
    huge = await waiting(memory, LENT_BYTES + 1)
    memory.lend()
    await asyncio.sleep(0)
    assert not huge.done()
    memory.interrupt()
    assert not await huge
    memory.lend()
    assert memory.taken_bytes == 100


def test_several_together_never_pass_the_budget() -> None:
    """Records that are taken together get all their bytes or none, and no right to pass when they are alone."""
    memory = Memory(100)
    assert not memory.try_take_all(101)
    assert memory.try_take_all(100)
    assert not memory.try_take_all(1)
    assert memory.taken_bytes == 100
