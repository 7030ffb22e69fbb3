"""In a fresh checkout one process compiles the tests, and the others wait for it instead of doing the same beside it.

pytest rewrites the assertions of each file, Python compiles modules, Hypothesis looks for constants in them: as long
again as the collection of tests from what lies compiled. Processes that begin together would each do all of it.
"""

from __future__ import annotations

import fcntl
import os
import sys
import tempfile
from pathlib import Path


class FirstCollector:
    """Holds the others back until the first process has collected, in the process that starts them all.

    The kernel lets them go, too, when that process ends.
    """

    def __init__(self, *, needed: bool) -> None:
        self._descriptor: int | None = None
        self._path: Path | None = None
        if needed:
            self._descriptor, name = tempfile.mkstemp(prefix="collecting-")
            self._path = Path(name)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)

    @property
    def lock(self) -> Path | None:
        """What to wait for, if anything."""
        return self._path

    def end(self) -> None:
        """Let the others go; a second time is no error."""
        if self._descriptor is not None and self._path is not None:
            self._path.unlink()
            os.close(self._descriptor)
            self._descriptor = self._path = None


def wait_for_the_first(lock: Path) -> None:
    """Return once the first process has collected."""
    try:
        with lock.open("rb") as held:
            fcntl.flock(held, fcntl.LOCK_SH)
    except FileNotFoundError:
        return  # it has


def is_compiled(tests: Path) -> bool:
    """Whether most of the tests lie there compiled, or nothing will."""
    if sys.dont_write_bytecode:
        return True
    files = [file for file in tests.rglob("test_*.py*") if file.suffix in {".py", ".pyc"}]
    return 2 * sum(file.suffix == ".pyc" for file in files) > sum(file.suffix == ".py" for file in files)
