"""How long work waited after a worker was ended, where nothing else was wrong at the time."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from tests.chaos.season.record import Restored, Season, Stop
from tests.chaos.season.standstills import Standstill, standstills

AFTER_KILL_S = 5.0
"""Beyond the session: the rest of it is the heartbeats' pause, the join and the first commit."""

AFTER_STOP_S = 3.0


class Takeover(NamedTuple):
    """What followed a stop."""

    stop: Stop
    limit_s: float
    seconds: float | None
    """The longest standstill of a partition of the stage; None when nothing waited, so that nothing can be said."""

    reading_s: float = 0.0
    """How much of it whoever took over read the customers' facts, since its disk lacked them."""

    @property
    def is_late(self) -> bool:
        """Whether work waited for longer than it may, beside that."""
        return self.seconds is not None and self.seconds - self.reading_s > self.limit_s


def limit_s(stop: Stop, session_s: float) -> float:
    """How long work may wait after it."""
    return (session_s + AFTER_KILL_S if stop.signal == "SIGKILL" else AFTER_STOP_S) + stop.spare_s


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
    restored = sorted(season.restored, key=lambda read: read.began_s)
    result = []
    for stop in judged(season):
        limit = limit_s(stop, season.session_s)
        # Facts are read for longer than that: what else is done meanwhile has its own standstill, from there on.
        until_s = min((one.began_s for one in season.happened if one.began_s > stop.at_s), default=math.inf)
        waited = [
            _waited(one._replace(ended_s=min(one.ended_s, until_s)), stop, restored)
            for one in found
            if one.stage == stop.stage and one.began_s < stop.at_s + limit and one.ended_s > stop.at_s
        ]
        seconds, reading_s = max(waited, key=lambda one: one[0] - one[1], default=(None, 0.0))
        result.append(Takeover(stop, limit, seconds, reading_s))
    return result


def _waited(one: Standstill, stop: Stop, restored: Iterable[Restored]) -> tuple[float, float]:
    """How long work waited in this partition since the stop, and how much of that a transform was reading facts.

    Args:
        one: where.
        stop: since when.
        restored: in the order of their beginnings.
    """
    began_s = max(one.began_s, stop.at_s)
    reading_s, until_s = 0.0, began_s
    for read in restored if one.stage == "transform" else ():
        since_s, until_s = max(read.began_s, until_s), max(until_s, min(read.ended_s, one.ended_s))
        reading_s += max(0.0, until_s - since_s)
    return one.ended_s - began_s, reading_s
