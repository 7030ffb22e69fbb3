"""Reloads the shaper while the transform runs.

The status of the files (inode, size, time) is read every two seconds and at SIGHUP; watching the file itself would miss
a ConfigMap, whose mount is a symlink that is swapped. A changed file is compiled, and held to the tests beside it, in
a thread. If all is well, the next chunk uses the new shaper; if not, it is refused and the old one stays.
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
"""Between two looks. A file that is being written is read only once two looks in a row find the same status."""

WATCH: Final = BackgroundTask("rules watch", OnEnd.RESTART)

log = logs.get(__name__)

Signature = tuple[tuple[str, int, int, int], ...]


@dataclass(frozen=True, slots=True)
class ShaperLoaded:
    """A shaper was loaded at the start, or taken or refused later; `version` is that of the live one."""

    outcome: Literal["started", "taken", "refused"]
    version: str


@dataclass(frozen=True, slots=True)
class ShadowLoaded(ShaperLoaded):
    """The same for the candidate that runs beside the live shaper (`PIPELINE_SHADOW_…`)."""


_hangups: Final[set[asyncio.Event]] = set()
"""Set when SIGHUP comes, so that each `LiveShaper` looks at once: a process has only one handler for the signal."""


def _hung_up() -> None:
    for wanted in _hangups:
        wanted.set()


class LiveShaper:
    """The shaper of a running transform, or the candidate beside it.

    Args:
        settings: name the files.
        shaper: the one that was loaded at the start.
        tasks: runs the watch.
        observe: called with a `loaded` record for each version that is started, taken or refused.
        look_s: seconds between two looks.
        loaded: the class of that record.
        names: the settings that name the files, for the log.
        read: the files' status from before `shaper` was loaded: what changed while it was loads, too. Without it, as
            they are now.
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
        read: Signature | None = None,
    ) -> None:
        self._settings, self._tasks, self._observe, self._look_s = settings, tasks, observe, look_s
        self._loaded, self._names = loaded, names or _named(settings)
        self._wanted = asyncio.Event()
        self._read = self._pending = signature(files_of(settings)) if read is None else read
        self.shaper = shaper
        """The live one; the next chunk uses it."""

    async def start(self) -> None:
        """Begin to watch the files; SIGHUP makes it look at once."""
        tell((self._observe,), self._loaded("started", self.shaper.version))
        with suppress(ValueError, RuntimeError, NotImplementedError):  # only in a process's main thread
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, _hung_up)
            _hangups.add(self._wanted)
        self._tasks.start(WATCH, self._watch)

    async def stop(self) -> None:
        """End the watch."""
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
        """Load the files if they have changed, and no longer change; `asked`: load them anyway."""
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
    """What changes when a file does: its resolved path, inode, size and time of modification."""
    found = []
    for file in files:
        try:
            status, place = file.stat(), str(file.resolve())
        except OSError:
            found.append((str(file), 0, 0, 0))
        else:
            found.append((place, status.st_ino, status.st_size, status.st_mtime_ns))
    return tuple(found)
