"""The sink's observers: told of everything, part of nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pipeline.observers import ObserverFailed
from pipeline.sink.events import RateFactorChanged

Virtual = Callable[[Any], Any]


def test_an_observer_that_raises_costs_nothing(virtual: Virtual, rig: Any, make: Any) -> None:
    """With one that fails over every event all is sent once, dead-lettered once and acknowledged, and lanes live on."""

    def broken(event: object) -> None:
        raise ZeroDivisionError(event)

    rig.api.script = [rig.api.status(503), rig.api.refuse(1), rig.api.ok]

    async def scenario() -> None:
        async with rig:
            rig.sink._observers = (broken, *rig.sink._observers)
            await rig.take(make.record("ann", 0), make.record("ann", 1), make.raw(2, b"no JSON"))
            await rig.settled()
            await rig.take(make.record("ann", 3))
            await rig.settled()

    virtual(scenario())
    assert rig.acked[0][-1] == 3
    assert rig.api.accepted == [("ann", 0), ("ann", 3)]
    assert [source for source, _, _ in rig.producer.told] == ["customerio.operations/0/1", "customerio.operations/0/2"]
    assert rig.crashes == []
    assert rig.of(ObserverFailed)


def test_the_budget_is_a_part_and_no_observer(virtual: Virtual, rig: Any, make: Any) -> None:
    """It hears of a 429 before every observer, and an error in it ends the process instead of being counted."""
    rig.api.script = [rig.api.status(429)]
    rig.may_crash = True

    async def scenario() -> None:
        async with rig:
            await rig.take(make.record("ann", 0))
            await rig.settled()
            assert rig.of(RateFactorChanged)[0].cause == "throttled"
            rig.sink.budget.observe = None
            await rig.take(make.record("ann", 1))
            while not rig.crashes:
                await rig.sink.handover.nap(1)
            del rig.sink.budget.observe

    virtual(scenario())
    assert [type(error) for error in rig.crashes] == [TypeError]
    assert rig.acked == {0: [0]}
