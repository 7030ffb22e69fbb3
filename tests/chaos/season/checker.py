"""The judge of a season: what was promised and did not happen, from the ledger, the log of acceptances and the samples.

A pure function. What the events say, the profiles and the totals are judged by `tests.chaos.truth` besides.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

from tests.chaos.season.record import Season, Stage, Taken
from tests.chaos.season.standstills import standstills
from tests.chaos.season.takeovers import judged, limit_s, takeovers

SHOWN: Final = 5
"""Examples of each kind; the count is always exact."""

GENUINE: Final = frozenset({"first", "redelivery"})

WEDGED_S: Final = 60.0
"""A partition that has work and does not move for so long after the last fault that could hold it is wedged."""

UNANSWERED: Final = frozenset({"slow", "answers lost"})
"""Faults in which Customer.io takes a batch and the sink does not hear of it in time: it is sent again, as promised."""

STAGES: Final[tuple[Stage, ...]] = ("transform", "sink")
"""Those that have a group."""

TIMED: Final = frozenset({"partitions wedged", "takeovers that came late"})
"""Checks that mean something only where the machine has time: it decides how long work waits."""


def check(season: Season, *, timed: bool = True) -> list[str]:
    """One line for each kind of violation, with examples; none when every promise was kept.

    Args:
        season: what there is.
        timed: judge how long work waited, too.
    """
    found = []
    for name, look in CHECKS.items():
        violations = [] if name in TIMED and not timed else list(look(season))
        if violations:
            shown = "\n    ".join(str(one)[:2000] for one in violations[:SHOWN])
            found.append(f"{len(violations)} {name}:\n    {shown}")
    return found


def _unanswered(season: Season) -> Iterator[Any]:
    """A genuine webhook is answered 200, what a forger sent 401."""
    for one in season.answered:
        wanted = 401 if one.kind == "forged" else 200
        if one.status != wanted or one.answered_s < one.posted_s:
            yield one


def _lost(season: Season) -> Iterator[Any]:
    had = {one.ulid for one in season.taken if one.ulid}
    for person, ulids in season.due.items():
        for ulid in ulids:
            if ulid not in had:
                yield person, ulid


def _untold(season: Season) -> Iterator[Any]:
    """Nobody's: among them the same fact under a second id, which Customer.io would count twice."""
    due = {ulid for ulids in season.due.values() for ulid in ulids}
    for one in _first(season.taken):
        if one.ulid not in due:
            yield one


def _disordered(season: Season) -> Iterator[Any]:
    """First deliveries of a person, against the order in which they are due."""
    came: dict[str, list[str]] = defaultdict(list)
    for one in _first(season.taken):
        came[one.person].append(one.ulid)
    for person, ulids in came.items():
        places = {ulid: place for place, ulid in enumerate(season.due.get(person, ()))}
        known = [places[ulid] for ulid in ulids if ulid in places]
        if known != sorted(known):
            yield person, [ulid for ulid, due in zip(ulids, sorted(known), strict=False) if places.get(ulid) != due]


def _behind(season: Season) -> Iterator[Any]:
    """By the last look at each group; what is unknown is not 0."""
    last = {sample.stage: sample for sample in season.samples}
    for stage in STAGES:
        if stage not in last:
            yield stage, "never looked at"
            continue
        places = last[stage].places
        for partition in range(season.partitions[stage]):
            place = places.get(partition)
            if place is None or place.committed != place.end:
                yield stage, partition, place


def _wedged(season: Season) -> Iterator[Any]:
    for one in standstills(season.samples):
        held = [
            fault.ended_s for fault in season.happened if fault.began_s < one.ended_s and fault.ended_s > one.began_s
        ]
        if one.ended_s - max([one.began_s, *held]) > WEDGED_S:
            yield one


def _late(season: Season) -> Iterator[Any]:
    for one in takeovers(season):
        if one.is_late:
            yield (
                f"{one.stop.replica} {one.stop.signal}: work waited for {one.seconds:.1f} s, for {one.reading_s:.1f} s "
                f"of it for facts (limit beside that {one.limit_s:g} s)"
            )


def _repeated_after_stop(season: Season) -> Iterator[Any]:
    """SIGTERM hands over: nothing is sent twice, but what was posted twice or taken before and not answered in time."""
    posted = Counter(one.webhook_id for one in season.answered)
    for answer in season.answered:
        posted[answer.webhook_id] += answer.attempts - 1
    stops = [
        (stop.at_s, stop.at_s + limit_s(stop, season.session_s) + 1)
        for stop in judged(season)
        if stop.signal == "SIGTERM"
    ]
    unanswered = [(fault.began_s, fault.ended_s) for fault in season.happened if fault.name in UNANSWERED]
    had: dict[str, float] = {}
    for one in season.taken:
        if not one.ulid or not one.accepted:
            continue
        before_s = had.get(one.ulid)
        had[one.ulid] = one.at_s
        if before_s is None or posted[one.webhook_id] > 1 or _within(before_s, unanswered):
            continue
        if _within(one.at_s, stops):
            yield one


def _within(at_s: float, times: Iterable[tuple[float, float]]) -> bool:
    return any(since <= at_s < until for since, until in times)


def _ended(season: Season) -> Iterator[Any]:
    """A process ends when it is told to, or where a fault asks for an operator."""
    for end in season.ended:
        expected = [
            one for one in season.happened if end.replica in one.ends and one.began_s <= end.at_s <= one.ended_s
        ]
        if not expected:
            yield f"{end.replica}: exit code {end.code}\n{end.said}"


CHECKS: Final[dict[str, Callable[[Season], Iterable[Any]]]] = {
    "webhooks without their answer": _unanswered,
    "events lost": _lost,
    "events that are not due": _untold,
    "people whose first deliveries came out of order": _disordered,
    "partitions that are behind": _behind,
    "partitions wedged": _wedged,
    "takeovers that came late": _late,
    "events sent again after a SIGTERM": _repeated_after_stop,
    "processes that ended by themselves": _ended,
}
"""What a violation is called, and who finds it."""


def _first(taken: Sequence[Taken]) -> Iterator[Taken]:
    """Each event when it was first decided on: Customer.io counts an id once, whatever comes again."""
    had: set[str] = set()
    for one in taken:
        if one.ulid and one.ulid not in had:
            had.add(one.ulid)
            yield one
