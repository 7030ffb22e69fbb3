"""Lets a process's customers' state lie on a disk that takes `SLOW_DISK_S` for a write; Python loads it by its name.

A write transaction of LMDB takes so much longer, in the thread that does it, and so does each flush to the disk: what a
full write-back cache, a throttled volume or a network file system does to a process. Reads come out of memory, as ever.
"""

import os
import time
from typing import Any

_seconds = float(os.environ.get("SLOW_DISK_S", "0"))

if _seconds:
    import lmdb

    _open: Any = lmdb.open

    class SlowEnvironment:
        """An environment whose writes take their time."""

        def __init__(self, environment: Any) -> None:
            self._environment = environment

        def __getattr__(self, name: str) -> Any:
            """Everything else is as it was."""
            return getattr(self._environment, name)

        def begin(self, *args: Any, **options: Any) -> Any:
            """A transaction; one that writes begins late."""
            if options.get("write"):
                time.sleep(_seconds)
            return self._environment.begin(*args, **options)

        def sync(self, *args: Any, **options: Any) -> None:
            """A flush to the disk, which takes as long as a write."""
            time.sleep(_seconds)
            self._environment.sync(*args, **options)

    lmdb.open = lambda *args, **options: SlowEnvironment(_open(*args, **options))  # type: ignore[assignment]
