"""Files that hold customers' data are their user's alone: directories 0700, files 0600, whatever the umask is."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Final

from pipeline import logs

DIRECTORY: Final = 0o700
FILE: Final = 0o600
OTHERS: Final = 0o077

log = logs.get(__name__)


def directory(path: Path) -> None:
    """Make `path` for this user alone (parents by the umask); one that was open to others is closed, and logged.

    Raises:
        OSError: it cannot be made. One that is someone else's is left as it is, and logged: its owner decides.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.mkdir(mode=DIRECTORY, exist_ok=True)
    _close(path, DIRECTORY)


def file(path: Path, *, create: bool = True) -> None:
    """Make `path` (empty) for this user alone, or close it to others where it exists; without `create` only that.

    Raises:
        OSError: it cannot be made.
    """
    if create:
        path.touch(mode=FILE)
    if path.is_file():
        _close(path, FILE)


def _close(path: Path, mode: int) -> None:
    found = stat.S_IMODE(path.stat().st_mode)
    if not found & OTHERS:
        return
    try:
        path.chmod(mode)
    except OSError as error:
        log.warning(
            "Others can read customers' data here, and it is not ours to close",
            path=str(path), mode=f"{found:04o}", error=type(error).__name__,
        )  # fmt: skip
    else:
        log.warning("Others could read customers' data here; closed", path=str(path), was=f"{found:04o}")
