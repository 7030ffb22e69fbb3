"""A signal is heard by work that loses a cancellation."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from pipeline.interruption import until_told


async def test_a_lost_cancellation_is_repeated() -> None:
    """Work that swallowed the first one ends by the second."""
    lost: list[str] = []

    async def deaf() -> None:
        asyncio.get_running_loop().call_soon(os.kill, os.getpid(), signal.SIGINT)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            lost.append("the first")
        await asyncio.Event().wait()

    with pytest.raises(asyncio.CancelledError):
        await until_told(deaf(), again_s=0.01)
    assert lost == ["the first"]


async def test_work_that_ends_by_itself() -> None:
    """Its result, or its error; the signals are the process's again."""

    async def fails() -> None:
        raise ValueError("no")

    async def gives() -> int:
        return 7

    before = signal.getsignal(signal.SIGINT)
    assert await until_told(gives()) == 7
    with pytest.raises(ValueError, match="no"):
        await until_told(fails())
    assert signal.getsignal(signal.SIGINT) in {before, signal.default_int_handler}
