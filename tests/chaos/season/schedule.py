"""When which fault comes: a pure function of a seed, so that a season can be had again."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final, NamedTuple

from tests.chaos.season.catalogue import KINDS, Kind

BESIDE: Final = 0.2
"""Share of the faults that begin together with the one before."""

EDGES: Final = 0.05
"""Share of the traffic before the first fault, and behind the last: what went wrong is seen only in what follows."""


class Planned(NamedTuple):
    """A fault to come."""

    number: int
    """From 1."""

    name: str
    at: int
    """How many webhooks have their answer when it begins."""

    beside: bool
    """Whether it begins together with the one before, instead of after it."""

    seed: int
    """Of its own dice: what it picks does not depend on how the ones before went."""


def schedule(seed: int, faults: int, webhooks: int, kinds: Sequence[Kind] = KINDS) -> tuple[Planned, ...]:
    """So many faults, spread over the traffic. Each kind comes once before any comes again.

    Raises:
        ValueError: fewer webhooks than faults, or nothing to choose from.
    """
    if not kinds or faults < 0 or webhooks < faults:
        raise ValueError(f"{faults} faults of {len(kinds)} kinds do not fit into {webhooks} webhooks")
    dice = random.Random(f"season {seed}")
    deck: list[Kind] = []
    planned: list[Planned] = []
    gap = webhooks * (1 - 2 * EDGES) / max(faults, 1)
    before: Kind | None = None
    for number in range(1, faults + 1):
        if not deck:
            deck = dice.sample(kinds, len(kinds))
        kind = deck.pop()
        at = int(webhooks * EDGES + (number - 1 + dice.random()) * gap)
        together = dice.random() < BESIDE
        beside = together and before is not None and _apart(before, kind) and not planned[-1].beside
        planned.append(Planned(number, kind.name, planned[-1].at if beside else at, beside, dice.randrange(2**32)))
        before = kind
    return tuple(planned)


def _apart(one: Kind, other: Kind) -> bool:
    """Whether both can be done at the same time."""
    return one.realm != other.realm and "operator" not in {one.realm, other.realm}
