"""Work that a person or a supervisor may break off, and that hears of it.

`asyncio.run` cancels its task once at Ctrl-C. A cancellation can get lost on the way: anyio, below httpx, takes one for
its own that falls into the end of a connection attempt, and a client of aiokafka that is being closed one for that of
its own task. Then the work goes on as if it had not been cancelled.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine, Sequence
from typing import Any, Final, TypeVar

CANCEL_AGAIN_S: Final = 5.0
"""What is stopped in order has had its time."""

T = TypeVar("T")


async def until_told(
    work: Coroutine[Any, Any, T],
    numbers: Sequence[signal.Signals] = (signal.SIGINT,),
    again_s: float = CANCEL_AGAIN_S,
) -> T:
    """Run `work` to its end; one of these signals cancels it, again and again until it has heard.

    Raises:
        CancelledError: a signal came, and the work ended by it.
    """
    loop = asyncio.get_running_loop()
    told = asyncio.Event()
    for number in numbers:
        loop.add_signal_handler(number, told.set)
    listening = asyncio.create_task(told.wait())
    task = asyncio.create_task(work)
    try:
        await asyncio.wait({task, listening}, return_when=asyncio.FIRST_COMPLETED)
        while not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=again_s)
        return task.result()
    finally:
        listening.cancel()
        for number in numbers:
            loop.remove_signal_handler(number)
