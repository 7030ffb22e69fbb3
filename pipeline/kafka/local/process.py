"""The operating-system process of a local broker, known by its pid alone.

By pid and not by a `Popen`, since `dodo-cio kafka down` ends a broker that another process started. A pid may be
reused after a reboot, so a foreign pid counts only while its command line still names the same properties file.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

PROC = Path("/proc")
"""Linux; elsewhere ps(1) is asked."""

POLL_S = 0.02
"""Waiting for a process that is not our child has no event to wait for."""

WATCHDOG = """\
import os, signal, sys
sys.stdin.buffer.read()
os.kill(int(sys.argv[1]), signal.SIGKILL)
"""
"""Reads a pipe whose only writer is the parent: it ends when the parent does, however that dies. A kernel's
PR_SET_PDEATHSIG would be bound to the thread that forked, and Linux only. SIGKILL, since a frozen broker hears
nothing else and nobody is left to read its data."""


def spawn(argv: Sequence[str], *, output: Path) -> int:
    """Start `argv` in a session of its own (a Ctrl-C at the terminal is the parent's to handle); the child's pid."""
    with output.open("ab") as out:
        return os.posix_spawn(
            argv[0],
            list(argv),
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, out.fileno(), 1),
                (os.POSIX_SPAWN_DUP2, out.fileno(), 2),
            ],
            setsid=True,
        )


class Watchdog:
    """Kills `pid` when this process ends, whichever way; `close` calls it off."""

    def __init__(self, pid: int) -> None:
        reading, self._writing = os.pipe()  # not inheritable: no later child keeps it open
        self._pid = os.posix_spawn(
            sys.executable,
            [sys.executable, "-I", "-S", "-c", WATCHDOG, str(pid)],
            os.environ,
            file_actions=[(os.POSIX_SPAWN_DUP2, reading, 0)],
            setsid=True,
        )
        os.close(reading)

    def close(self) -> None:
        """End the watchdog without its bite."""
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            os.close(self._writing)
            self._pid = 0


def exit_status(pid: int, mark: str) -> int | None:
    """None while the process runs; else its exit code, negative for a signal, 0 when it was not our child.

    `mark` is text that the command line of the process holds.
    """
    shown = command_line(pid)
    if mark in shown:
        return None
    if shown:
        return 0  # another program has the number by now
    try:
        ended, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return 0
    return os.waitstatus_to_exitcode(status) if ended else None  # still ending: its memory is gone, its status to come


def wait(pid: int, mark: str, within_s: float) -> bool:
    """Whether the process ended in time."""
    deadline = time.monotonic() + within_s
    while exit_status(pid, mark) is None:
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True


def wait_frozen(pid: int, within_s: float) -> bool:
    """Whether every thread stopped in time; where there is no /proc it cannot be known, and counts as stopped."""
    deadline = time.monotonic() + within_s
    while not _is_frozen(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True


def _is_frozen(pid: int) -> bool:
    for stat in Path(f"/proc/{pid}/task").glob("*/stat"):
        try:
            state = stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[0]
        except OSError:
            continue  # the thread ended
        if state not in {"T", "t", "Z", "X"}:
            return False
    return True


def send(pid: int, number: signal.Signals) -> None:
    """Signal the process; one that is gone is no error."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def command_line(pid: int) -> str:
    """The command line of a process, empty when there is none (or it is a zombie)."""
    try:
        return (PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
    except FileNotFoundError:
        if PROC.exists():
            return ""
    shown = subprocess.run(  # noqa: S603 - a number is the only argument
        ["/bin/ps", "-ww", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return shown.stdout
