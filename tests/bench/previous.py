"""The project as it was at another commit, as a contender of its own beside what it is now."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).resolve().parents[2]
"""Not where programs are started: under `make compiled`'s tree git would look for the commit's files in that folder."""

PARTS: Final = ("pipeline", "topics", "tests/bench")


def export(commit: str, directory: Path) -> Path:
    """The tree of `commit` under `directory`; programs that start there find its modules before the installed ones.

    Raises:
        FileNotFoundError: there is no such commit here; the message is git's.
    """
    tree = directory / f"previous-{commit[:12].replace('/', '-')}"
    if tree.exists():
        return tree
    found = subprocess.run(
        ("git", "-C", str(REPOSITORY), "archive", "--format=tar", commit, *PARTS), capture_output=True, check=False
    )
    if found.returncode:
        raise FileNotFoundError(found.stderr.decode(errors="replace").strip())
    with tarfile.open(fileobj=io.BytesIO(found.stdout)) as archive:
        archive.extractall(tree, filter="data")
    return tree
