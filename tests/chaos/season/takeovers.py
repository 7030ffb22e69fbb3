"""How long work waited after a worker was ended, where nothing else was wrong at the time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from tests.chaos.season.record import Season, Stop
from tests.chaos.season.standstills import standstills

AFTER_KILL_S = 5.0
"""Beyond the session: the rest of it is the heartbeats' pause, the join and the first commit."""

AFTER_STOP_S = 3.0


class Takeover(NamedTuple):
    """What followed a stop."""

    stop: Stop
    limit_s: float
    seconds: float | None
    """The longest standstill of a partition of the stage; None when nothing waited, so that nothing can be said."""


def limit_s(stop: Stop, session_s: float) -> float:
    """How long work may wait after it."""
    return session_s + AFTER_KILL_S if stop.signal == "SIGKILL" else AFTER_STOP_S


def judged(season: Season) -> Iterator[Stop]:
    """Stops of workers with partitions that began in calm, and beside which nothing else was done to the chain.

    From a second before them until a second longer than work may wait; what else falls into it would be blamed on them.
    """
    stops = [stop for fault in season.happened for stop in fault.stops]
    for stop in stops:
        after_s = stop.at_s + limit_s(stop, season.session_s) + 1
        others = [one for one in season.happened if stop not in one.stops]
        beside = [one for one in others if one.began_s < after_s and one.ended_s > stop.at_s - 1]
        again = [one for one in stops if one != stop and abs(one.at_s - stop.at_s) < after_s - stop.at_s]
        if stop.stage != "ingest" and stop.calm and not beside and not again:
            yield stop


def takeovers(season: Season) -> list[Takeover]:
    """Of every stop that can be judged."""
    found = list(standstills(season.samples))
    result = []
    for stop in judged(season):
        limit = limit_s(stop, season.session_s)
        waited = [
            one.ended_s - max(one.began_s, stop.at_s)
            for one in found
            if one.stage == stop.stage and one.began_s < stop.at_s + limit and one.ended_s > stop.at_s
        ]
        result.append(Takeover(stop, limit, max(waited, default=None)))
    return result
