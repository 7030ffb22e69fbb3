"""The version that runs, and the commit that it was built from."""

from __future__ import annotations

import platform
import subprocess
from functools import lru_cache
from pathlib import Path
from typing import Final

from pipeline import __version__

PACKAGE: Final = Path(__file__).resolve().parent

BUILT_FROM: Final = "_commit.txt"
"""Written into the package by the build (hatch_build.py, Dockerfile); a checkout asks Git instead."""

GIT_WITHIN_S: Final = 5.0
"""It takes milliseconds; a file system that hangs keeps nobody from the version."""

SUFFIXES: Final = (".so", ".pyd")


def commit(package: Path = PACKAGE) -> str | None:
    """Twelve digits, `+changed` behind them when files differed from that commit; None where nobody wrote it down."""
    try:
        return (package / BUILT_FROM).read_text(encoding="ascii").strip() or None
    except (OSError, ValueError):
        return _of_checkout(package.parent)


@lru_cache(maxsize=1)
def build() -> str:
    """What distinguishes this build from others, as far as is known: `0.1.0 0123456789ab`."""
    return f"{__version__} {commit() or ''}".rstrip()


def described(package: Path = PACKAGE) -> str:
    """One line for people: `dodo-cio 0.1.0 (commit 0123456789ab), Python 3.12.1, linux x86_64`."""
    known = commit(package)
    built = f"commit {known}" if known else "commit unknown"
    if is_compiled(package):
        built += ", compiled"
    python = f"{platform.python_implementation().replace('CPython', 'Python')} {platform.python_version()}"
    return f"dodo-cio {__version__} ({built}), {python}, {platform.system().lower()} {platform.machine()}"


def is_compiled(package: Path = PACKAGE) -> bool:
    """Whether any module of the package itself is machine code."""
    return any(path.suffix in SUFFIXES for path in package.rglob("*") if path.suffix)


def _of_checkout(root: Path) -> str | None:
    """What Git reports, if `root` is the top of a work tree: an installed package may lie inside someone else's."""
    if not (root / ".git").exists():
        return None
    try:
        found = subprocess.run(  # noqa: S603 - our own arguments
            ["git", "-C", str(root), "describe", "--always", "--exclude=*", "--abbrev=12", "--dirty=+changed"],  # noqa: S607
            capture_output=True,
            check=True,
            text=True,
            timeout=GIT_WITHIN_S,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip() or None
