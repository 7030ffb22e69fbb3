"""The classes of a local broker, parsed and verified beforehand in a file that the JVM maps (JEP 350).

Most of a broker's start is the loading of 8,000 classes: 4.6 s of processor time for the format tool and the broker
without such a file, 2.4 s with it (JDK 17, two cores). It lies beside the jars, is made once by a broker that runs for
nothing else, and belongs to one Java: another one makes its own, and a JVM that dislikes a file starts without it.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Final

from pipeline.errors import PipelineError
from pipeline.kafka.local import distribution

QUIET: Final = ("-Xlog:cds=off", "-Xlog:cds+dynamic=off")
"""A JVM that starts without the file prints that each time; it costs seconds, and changes nothing else."""

OPTION: Final = "ArchiveClassesAtExit"
"""Of the JVM (JDK 13 and later, HotSpot)."""

_DIGEST_BYTES: Final = 6


def options(jars: Path) -> list[str]:
    """What the JVM is given to use the archive for these jars; nothing while there is none."""
    archive = _path(jars)
    try:
        is_usable = archive.stat().st_size > 0
    except OSError:
        return []
    return [f"-XX:SharedArchiveFile={archive}", "-Xshare:auto", *QUIET] if is_usable else []


def prepare(jars: Path, run: Callable[[list[str]], None], *, say: Callable[[str], None] = lambda _: None) -> None:
    """Make the archive unless there is one; never an error, since a broker starts without it as well.

    Of several processes one makes it, and the others wait. A Java that cannot is not asked again.

    Args:
        jars: the directory of the broker's libraries.
        run: starts a broker with these options of the JVM and ends it in order.
        say: prints a line that it takes a moment.
    """
    archive = _path(jars)
    if archive.exists():
        return
    try:
        with archive.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if archive.exists():  # another process has made it while we waited
                return
            say("Preparing quick starts of Apache Kafka (some seconds, once)")
            fresh = archive.with_suffix(f".{os.getpid()}")
            try:
                run([f"-XX:{OPTION}={fresh}", *QUIET])
            except PipelineError as error:
                if OPTION in str(error):  # the JVM's own words: it does not know the option
                    archive.touch()
            if fresh.exists():
                fresh.rename(archive)
    except OSError:
        return  # the cache cannot be written


def _path(jars: Path) -> Path:
    java = Path(distribution.java()).resolve()
    found = java.stat()
    of = f"{java} {found.st_size} {found.st_mtime_ns}".encode()
    return jars.with_name(f"{jars.name}-{blake2b(of, digest_size=_DIGEST_BYTES).hexdigest()}.jsa")
