"""Nothing of one assignment reaches into the next: not in a lane, not in a batch, not in a stack of retries."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from pipeline.errors import ContractViolationError
from pipeline.sink.clearance import Clearance

ONE, NEIGHBOUR, OTHER = "ann", "bob", "cid"


def after(seconds: float, reply: Callable[..., Any]) -> Callable[..., Any]:
    """`reply`, when that time has passed."""

    async def answer(operations: list[dict[str, Any]], body: bytes) -> httpx.Response:
        await asyncio.sleep(seconds)
        response = reply(operations, body)
        assert isinstance(response, httpx.Response)
        return response

    return answer


@pytest.mark.parametrize("generation", [1, 2])
def test_a_lane_that_outlives_the_grace(virtual: Any, make: Any, generation: int) -> None:
    """What an older assignment left waiting in a busy lane is not joined by what the next one puts there.

    A static member that joins again is given the same generation (KIP-345), so the number tells nothing.
    """

    async def scenario() -> None:
        api = make.api()
        api.script = [
            after(5, api.ok),  # ONE's first, when the hand-over begins
            after(0.1, api.ok),  # OTHER's
            after(7.6, api.status(503)),  # ONE's next, sent to the end of the grace and beyond it
        ]
        async with make.rig(api, lanes=2) as rig:
            # Barriers: each of ONE's goes alone. OTHER's are behind them, so the hand-over owes ONE's.
            records = [make.record(ONE, n, barrier=True) for n in range(3)] + [make.record(OTHER, 3)]
            await rig.take(records[0])
            await asyncio.sleep(1)
            await rig.take(*records[1:])
            await asyncio.sleep(1)
            rig.sink.handover.begin()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(9):
                    await rig.sink.handover.drained()
            rig.sink.handover.abandon()
            rig.assign(generation)
            await rig.take(*records[1:], make.record(NEIGHBOUR, 10), make.record(OTHER, 11), generation=generation)
            await rig.settled()
            assert not rig.crashes
            wanted = [(ONE, 0), (ONE, 1), (ONE, 2), (OTHER, 3), (OTHER, 3), (NEIGHBOUR, 10), (OTHER, 11)]
            assert sorted(api.accepted) == sorted(wanted)
            assert [n for person, n in api.accepted if person == ONE] == [0, 1, 2]
            assert rig.acked[0][-1] == 11
            assert rig.sink.memory.taken_bytes == 0

    virtual(scenario())


def test_set_aside_into_an_old_stack(virtual: Any, make: Any) -> None:
    """A request that ends in doubt after the next assignment began takes nobody of that assignment to tell by."""

    async def scenario() -> None:
        api = make.api()
        nobodys = api.status(400, content=b"<html>")
        api.script = [after(7.9, nobodys), nobodys]
        async with make.rig(api) as rig:
            await rig.take(make.record("ann", 0))
            await asyncio.sleep(1)
            rig.assign(2)
            await rig.take(make.record("ann", 0), make.record("bob", 1), generation=2)
            await rig.settled()
            assert not rig.crashes
            assert sorted(api.accepted) == [("ann", 0), ("bob", 1)]
            assert rig.acked[0][-1] == 1

    virtual(scenario())


def test_a_letter_that_outlives_its_assignment(virtual: Any, make: Any) -> None:
    """While dead letters wait for a broker, what waits behind them in the old assignment is not sent by the next."""

    async def scenario() -> None:
        api = make.api()
        async with make.rig(api) as rig:
            rig.producer.stalls = 1
            await rig.take(make.raw(0, b"no JSON"), make.record("ann", 1))
            await asyncio.sleep(1)
            rig.assign(2)
            await rig.take(make.raw(0, b"no JSON"), make.record("ann", 1), generation=2)
            await rig.settled()
            assert not rig.crashes
            assert api.accepted == [("ann", 1)]
            assert rig.acked[0][-1] == 1
            assert len(rig.producer.letters) == 2

    virtual(scenario())


def test_a_dropped_record_of_the_live_assignment_ends_the_process(
    virtual: Any, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever bug drops a record that is still ours, the process ends, naming it, and Kafka redelivers."""

    async def refuse(*_: Any, **__: Any) -> None:
        return None

    async def scenario() -> None:
        async with make.rig(make.api(), may_crash=True) as rig:
            monkeypatch.setattr(Clearance, "ask", refuse)
            await rig.take(make.record("ann", 7))
            await asyncio.sleep(1)
            (crash,) = rig.crashes
            assert isinstance(crash, ContractViolationError)
            assert "customerio.operations/0/7" in str(crash)

    virtual(scenario())
