"""The shaper that is live, exchanged while the transform runs.

The files are looked at every two seconds, by their status alone (a ConfigMap's mount is a symlink that is swapped,
which no watch of a file tells), and at SIGHUP. What is new is compiled and held against the tests that lie beside it,
in a thread; then it is taken at the next chunk, or refused, and what was live stays.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from pipeline import logs
from pipeline.errors import PipelineError
from pipeline.observers import tell
from pipeline.settings import PREFIX, Settings
from pipeline.tasks import BackgroundTask, OnEnd, Tasks
from pipeline.transform.shaping.loading import checked_shaper_of, files_of
from pipeline.transform.shaping.types import Shaper

LOOK_S: Final = 2.0
"""Between two looks. A file that is being written is not read before two looks find it alike."""

WATCH: Final = BackgroundTask("rules watch", OnEnd.RESTART)

log = logs.get(__name__)

Signature = tuple[tuple[str, int, int, int], ...]


@dataclass(frozen=True, slots=True)
class ShaperLoaded:
    """A shaper was loaded at the start, or taken or refused since; `version` is the one that is live now."""

    outcome: Literal["started", "taken", "refused"]
    version: str


@dataclass(frozen=True, slots=True)
class ShadowLoaded(ShaperLoaded):
    """The same of a candidate that runs beside it."""


_hangups: Final[set[asyncio.Event]] = set()
"""Who looks at once when SIGHUP comes: the process has one handler for it."""


def _hung_up() -> None:
    for wanted in _hangups:
        wanted.set()


class LiveShaper:
    """The shaper of a running transform, or the candidate beside it.

    Args:
        settings: what names the files.
        shaper: the one of the start.
        tasks: runs the watch.
        observe: told of each version.
        look_s: seconds between two looks.
        loaded: what is told of each version.
        names: the settings that it comes from, for the log.
    """

    def __init__(
        self,
        settings: Settings,
        shaper: Shaper,
        tasks: Tasks,
        observe: Callable[[object], None],
        *,
        look_s: float = LOOK_S,
        loaded: type[ShaperLoaded] = ShaperLoaded,
        names: Sequence[str] = (),
    ) -> None:
        self._settings, self._tasks, self._observe, self._look_s = settings, tasks, observe, look_s
        self._loaded, self._names = loaded, names or _named(settings)
        self._wanted = asyncio.Event()
        self._read = self._pending = signature(files_of(settings))
        self.shaper = shaper
        """The one to be used for the next chunk."""

    async def start(self) -> None:
        """Begin to look; SIGHUP looks at once."""
        tell((self._observe,), self._loaded("started", self.shaper.version))
        with suppress(ValueError, RuntimeError, NotImplementedError):  # only in a process's main thread
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, _hung_up)
            _hangups.add(self._wanted)
        self._tasks.start(WATCH, self._watch)

    async def stop(self) -> None:
        """Look no more."""
        _hangups.discard(self._wanted)
        if not _hangups:
            with suppress(ValueError, RuntimeError, NotImplementedError):
                asyncio.get_running_loop().remove_signal_handler(signal.SIGHUP)
        await self._tasks.stop()

    async def _watch(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._look_s):
                    await self._wanted.wait()
            asked = self._wanted.is_set()
            self._wanted.clear()
            await self.look(asked=asked)

    async def look(self, *, asked: bool = False) -> None:
        """Load what has changed since it was read last and has come to rest; `asked`: whatever there is now."""
        seen = signature(files_of(self._settings))
        is_at_rest, self._pending = seen == self._pending, seen
        if not asked and (seen == self._read or not is_at_rest):
            return
        self._read = seen
        try:
            shaper = await asyncio.to_thread(checked_shaper_of, self._settings, observe=self._observe)
        except PipelineError as error:
            log.warning(
                "New rules are refused, the old ones stay: mend the file, it is read again by itself",
                version=self.shaper.version, reason="; ".join(str(error).splitlines()), settings=self._names,
            )  # fmt: skip
            tell((self._observe,), self._loaded("refused", self.shaper.version))
            return
        if shaper is None or (shaper.version == self.shaper.version and not asked):
            return
        before, self.shaper = self.shaper.version, shaper
        log.info("New rules are taken", version=shaper.version, before=before, settings=self._names)
        tell((self._observe,), self._loaded("taken", shaper.version))


def _named(settings: Settings) -> list[str]:
    return [f"{PREFIX}{name.upper()}" for name in ("javascript", "transform", "rules") if getattr(settings, name)]


def signature(files: Sequence[Path]) -> Signature:
    """What tells that files are others than before: where they lie, their inode, size and time."""
    found = []
    for file in files:
        try:
            status, place = file.stat(), str(file.resolve())
        except OSError:
            found.append((str(file), 0, 0, 0))
        else:
            found.append((place, status.st_ino, status.st_size, status.st_mtime_ns))
    return tuple(found)
