"""An API that is slow with large requests is served by smaller ones."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from pipeline.customerio.limits import BODY_MAX_BYTES
from pipeline.customerio.timeouts import Timeouts

Virtual = Callable[[Any], Any]

FULL_S, SMALL_S = 10.0, 1.0


@pytest.mark.parametrize("lanes", [1, 4])
def test_ten_seconds_for_a_full_batch(virtual: Virtual, api: Any, make: Any, lanes: int) -> None:
    """10 s for a full body and 1 s for a small one, with the client's deadline of 8 s: most requests are answered in
    time, and everything arrives in order."""  # noqa: D205, D209 - one promise
    assert SMALL_S < Timeouts().deadline_s < FULL_S
    unanswered = 0

    async def slow(operations: list[dict[str, Any]], body: bytes) -> httpx.Response:
        nonlocal unanswered
        needs_s = SMALL_S + (FULL_S - SMALL_S) * len(body) / BODY_MAX_BYTES
        unanswered += needs_s > Timeouts().deadline_s
        await asyncio.sleep(needs_s)
        return api.ok(operations, body)  # type: ignore[no-any-return]

    api.last = slow
    rig = make.rig(api, lanes=lanes)
    pad = "x" * 10_000

    async def scenario() -> float:
        async with rig:
            await rig.take(*(make.record(f"p{n % 40}", n, pad=pad) for n in range(3000)))
            await rig.settled()
            return asyncio.get_running_loop().time()

    took_s = virtual(scenario())
    first = list(dict.fromkeys(api.accepted))
    assert sorted(n for _, n in first) == list(range(3000))
    for person in {who for who, _ in first}:
        own = [n for who, n in first if who == person]
        assert own == sorted(own)
    assert rig.producer.letters == []
    assert unanswered < len(api.requests) / 4
    ideal_s = 3000 * len(pad) / (0.75 * BODY_MAX_BYTES) * Timeouts().deadline_s / lanes
    assert took_s < 2 * ideal_s


def test_it_recovers(virtual: Virtual, api: Any, make: Any) -> None:
    """When the API is fast again, batches are full again after some dozens of requests."""
    slow = True

    async def reply(operations: list[dict[str, Any]], body: bytes) -> httpx.Response:
        await asyncio.sleep(20.0 if slow and len(body) > BODY_MAX_BYTES / 3 else 0.1)
        return api.ok(operations, body)  # type: ignore[no-any-return]

    api.last = reply
    rig = make.rig(api)
    pad = "x" * 10_000

    async def scenario() -> None:
        nonlocal slow
        async with rig:
            await rig.take(*(make.record("ann", n, pad=pad) for n in range(500)))
            await rig.settled()
            slow = False
            await rig.take(*(make.record("ann", n, pad=pad) for n in range(500, 3000)))
            await rig.settled()

    virtual(scenario())
    assert len(api.requests[-2][1]) > 0.95 * BODY_MAX_BYTES
