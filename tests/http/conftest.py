"""Every port, as a process and in a thread."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from typing import IO, cast

import pytest

from tests.http import attacks
from tests.http.doors import NAMES, SHOWN, Door, in_a_thread

ROOT = Path(__file__).parents[2]
PATHS = {
    "ingest": ("/live", "/webhooks/dodo"),
    "admin": ("/live", "/live"),
    "watch": ("/live", "/live"),
    "sandbox": ("/__sandbox", "/api/v2/batch"),
}


@dataclass
class Port:
    """A port in a process of its own."""

    name: str
    process: subprocess.Popen[str]
    port: int
    idle_megabytes: float = 0.0
    """Of memory before any attack: each is measured against that, so that many small losses are seen too."""

    @property
    def get(self) -> str:
        """A path that answers."""
        return PATHS[self.name][0]

    @property
    def post(self) -> str:
        """A path that takes bodies."""
        return PATHS[self.name][1]

    def megabytes(self, key: str = "VmRSS") -> float:
        """Of memory, now (`VmRSS`) or at most since `forget_peak` (`VmHWM`)."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith(key)).split()[1]) / 1024

    def forget_peak(self) -> None:
        """Measure the peak from here on."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    @contextmanager
    def measured(self) -> Iterator[list[float]]:
        """The longest turn of the event loop, in processor seconds, that 99 of 100 moments of the block meet."""
        found: list[float] = []
        self._ask()
        yield found
        self._ask()
        found.append(float(self.line()))

    def _ask(self) -> None:
        cast("IO[str]", self.process.stdin).write("\n")
        cast("IO[str]", self.process.stdin).flush()

    def line(self) -> str:
        """The next line that is meant for us."""
        return next(line.removeprefix(SHOWN) for line in cast("IO[str]", self.process.stdout) if line.startswith(SHOWN))


@pytest.fixture(scope="session", params=NAMES)
def process(request: pytest.FixtureRequest) -> Iterator[Port]:
    """Each port in turn."""
    argv = [sys.executable, "-m", "tests.http.doors", request.param]
    with subprocess.Popen(argv, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        try:
            started = Port(request.param, child, 0)
            started.port = int(started.line())
            assert attacks.ask(started.port, started.get) == 200  # what it imports at first use is no attacker's doing
            started.idle_megabytes = started.megabytes()
            yield started
        finally:
            child.kill()


@pytest.fixture(scope="module", params=NAMES)
def door(request: pytest.FixtureRequest) -> Iterator[Door]:
    """Each port in turn, in a thread, for tests that talk to it with plain sockets."""
    doors: Queue[Door] = Queue()
    stops: Queue[Callable[[], object]] = Queue()
    thread = threading.Thread(target=in_a_thread, args=(request.param, stops.put, doors.put))
    thread.start()
    stop = stops.get()
    yield doors.get()
    stop()
    thread.join()
