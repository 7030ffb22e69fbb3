"""What is told of a season: a table of its faults, and the numbers that the picture is drawn from."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import orjson

from tests.chaos.season.again import keep
from tests.chaos.season.play import Played
from tests.chaos.season.record import Season
from tests.chaos.season.schedule import Planned
from tests.chaos.season.takeovers import takeovers
from tests.chaos.season.timeline import picture

COLUMNS: Final = 400
"""Points of the picture's curves."""


def report(played: Played, planned: Sequence[Planned]) -> str:
    """For people, as text."""
    lines = [summary(played)]
    places = {one.number: one for one in planned}
    for fault in played.season.happened:
        beside = " (beside)" if places[fault.number].beside else ""
        at = f"{fault.began_s - played.season.began_s:7.1f} s"
        lines.append(
            f"{fault.number:4} {at} {fault.ended_s - fault.began_s:6.1f} s  {fault.name}{beside}: {fault.detail}"
        )
    for one in takeovers(played.season):
        waited = "nothing waited" if one.seconds is None else f"{one.seconds:.1f} s of {one.limit_s:g} s"
        waited += f", {one.reading_s:.1f} s of it for facts" if one.reading_s else ""
        lines.append(f"     takeover of {one.stop.replica} after {one.stop.signal}: {waited}")
    return "\n".join(lines)


def summary(played: Played) -> str:
    """The counts in one line."""
    season, stats = played.season, played.stats
    accepted = sum(one.accepted for one in season.taken)
    last_s = max((one.at_s for one in season.taken), default=season.began_s)
    return (
        f"seed {season.seed}: {len(season.happened)} faults, {len(season.answered)} webhooks, "
        f"answers {played.answers}, "
        f"{accepted} operations accepted in {last_s - season.began_s:.0f} s, {stats['events']} events, "
        f"{stats['duplicates']} repeats absorbed, {len(season.ended)} ends, violations: {len(played.found)}"
    )


def digest(played: Played) -> dict[str, Any]:
    """The numbers of the picture and of the tables in the docs."""
    season = played.season
    end_s = max([one.at_s for one in season.samples], default=season.began_s)
    step_s = max((end_s - season.began_s) / COLUMNS, 0.001)
    times: dict[str, list[float]] = defaultdict(list)
    reading: list[list[float]] = []
    for one in takeovers(season):
        if one.seconds is not None:
            times[one.stop.signal].append(round(one.seconds - one.reading_s, 1))
            if one.reading_s:
                reading.append([round(one.seconds, 1), round(one.reading_s, 1)])
    return {
        "seed": season.seed,
        "seconds": round(end_s - season.began_s, 1),
        "webhooks": len(season.answered),
        "attempts": sum(one.attempts for one in season.answered),
        "operations": sum(one.accepted for one in season.taken),
        "events": played.stats["events"],
        "repeats": played.stats["duplicates"],
        "violations": list(played.found),
        "takeovers": {signal: sorted(seconds) for signal, seconds in sorted(times.items())},
        "reading": sorted(reading),
        "kinds": dict(sorted(Counter(one.name for one in season.happened).items())),
        "step_s": round(step_s, 3),
        "accepted": _accepted(season, step_s),
        "lag": {stage: _lag(season, stage, step_s) for stage in ("transform", "sink")},
        "faults": [
            [one.name, round(one.began_s - season.began_s, 1), round(one.ended_s - season.began_s, 1)]
            for one in season.happened
        ],
    }


def _accepted(season: Season, step_s: float) -> list[float]:
    """Operations a second, in each step."""
    counts = Counter(int((one.at_s - season.began_s) / step_s) for one in season.taken if one.accepted)
    return [round(counts[step] / step_s, 1) for step in range(COLUMNS)]


def _lag(season: Season, stage: str, step_s: float) -> list[int | None]:
    """The most records that waited in each step; None where nobody could tell."""
    most: dict[int, int] = {}
    partitions = 0  # a topic only grows
    for sample in season.samples:
        if sample.stage != stage:
            continue
        partitions = max(partitions, len(sample.places))
        if len(sample.places) == partitions and sample.at_s > season.began_s:
            step = int((sample.at_s - season.began_s) / step_s)
            lag = sum(place.end - place.committed for place in sample.places.values())
            most[step] = max(most.get(step, 0), lag)
    return [most.get(step) for step in range(COLUMNS)]


def write(played: Played, directory: Path) -> None:
    """The digest as JSON, which `make docs` draws, its picture, and the season itself."""
    directory.mkdir(parents=True, exist_ok=True)
    keep(played.season, directory)
    found = digest(played)
    (directory / "chaos.json").write_bytes(orjson.dumps(found, option=orjson.OPT_APPEND_NEWLINE))
    (directory / "chaos.svg").write_text(picture(found), encoding="utf-8")
