"""Judges a season that was kept once more, after a rule about its times was changed.

    CHAOS_REPORT=DIR make chaos SEED=7
    python -m tests.chaos.season.again DIR

What only the topics tell (the attributes of events and profiles, totals) was judged when it was played.
"""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from typing import Final

from tests.chaos.season.checker import check
from tests.chaos.season.record import Season

FILE: Final = "season.pickle"


def keep(season: Season, directory: Path) -> None:
    """Write everything that there is to judge."""
    (directory / FILE).write_bytes(pickle.dumps(season))


def main(directory: str) -> int:
    """Print every violation; 1 where there is one."""
    season: Season = pickle.loads((Path(directory) / FILE).read_bytes())
    found = check(season)
    print(*(found or ["no violation"]), sep="\n")  # noqa: T201 - what it is for
    return bool(found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
