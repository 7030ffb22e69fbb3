"""Compare the build that runs this with another one: what both make of the same traffic must be equal, byte for byte.

    python -m tests.builds PYTHON DIRECTORY

PYTHON is the other one's; it runs in DIRECTORY, where it finds its own package and these tests.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from itertools import zip_longest
from pathlib import Path

from pipeline.version import described

SHOWN = 400
"""Characters around the first difference."""


def write(python: str, directory: Path, file: Path) -> str:
    """Let a build write down what it decides; what it says it is."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PIPELINE_", "PYTHON"))}
    for command in (["tests.builds.decisions", str(file)], ["pipeline", "--version"]):
        run = subprocess.run(
            [python, "-m", *command], cwd=directory, env=environment, stdout=subprocess.PIPE, text=True, check=True
        )
    return run.stdout.strip()


def difference(ours: Path, theirs: Path) -> str | None:
    """The first line that differs, from where it does; None when all are equal."""
    with ours.open(encoding="utf-8") as one, theirs.open(encoding="utf-8") as other:
        for number, (mine, its) in enumerate(zip_longest(one, other, fillvalue=""), 1):
            if mine != its:
                same = next((at for at, pair in enumerate(zip(mine, its, strict=False)) if pair[0] != pair[1]), 0)
                start = max(0, same - SHOWN // 2)
                return f"line {number}: {mine[:40]}\n  {mine[start : same + SHOWN]}\n  {its[start : same + SHOWN]}"
    return None


def main() -> None:
    """Run both, compare; 1 when something differs."""
    python, directory = sys.argv[1:]
    with tempfile.TemporaryDirectory() as scratch:
        ours, theirs = Path(scratch) / "ours", Path(scratch) / "theirs"
        write(sys.executable, Path.cwd(), ours)
        said = write(python, Path(directory), theirs)
        if said.count("compiled") == described().count("compiled"):
            sys.exit(f"both builds are of one kind: {said}")
        if (found := difference(ours, theirs)) is not None:
            sys.exit(f"the builds differ in {found}")
        lines = sum(1 for _ in ours.open(encoding="utf-8"))
    print(f"{lines:,} lines of decisions, records and state are equal in {described()} and {said}")  # noqa: T201


if __name__ == "__main__":
    main()
