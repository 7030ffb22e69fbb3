"""Processes of `python -m pipeline`, and workers' scripts, forked from one that has imported everything already.

A start costs half a second to a second of processor time, nearly all of it for imports, and the tests make hundreds.
A forked process is as real as another: its own pid, descriptors, signals, exit code, and Python's last steps. Tests of
the start itself, or of how Python reads its environment, use `subprocess`.
"""

from __future__ import annotations

import atexit
import inspect
import json
import os
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any, AnyStr, Final

from pipeline.__main__ import STAGES
from pipeline.settings import PREFIX
from tests import fork_server
from tests.fork_server import HEADER, STATUS

PROGRAM: Final = [sys.executable, "-m", "pipeline"]

_OTHERS: Final = "cli"
"""The server of all commands that are no stages."""

_WORKER: Final = "transform"
"""The server of scripts: those of the tests are workers."""

_UNKNOWN: Final = ("preexec_fn", "pass_fds", "shell", "process_group", "gid", "uid", "gids")
"""What a fork is not given: with any of it, it starts in full."""

_EXECUTE: Final = inspect.signature(subprocess.Popen._execute_child)  # type: ignore[attr-defined]


class _Server:
    """The process that forks for one command. It ends when its socket is closed, so with us in any case."""

    def __init__(self, command: str) -> None:
        self.environ: Final = _read_by_imports(os.environ)
        self._lock = threading.Lock()
        self._control, theirs = socket.socketpair()
        # -P: nothing at the head of the path, for a fork to put its directory there.
        words = [sys.executable, "-P", fork_server.__file__, command, str(theirs.fileno())]
        null = subprocess.DEVNULL
        with theirs:
            self._process = subprocess.Popen(words, pass_fds=[theirs.fileno()], stdin=null, stdout=null)

    def start(self, request: Mapping[str, Any], descriptors: Sequence[int]) -> tuple[int, int]:
        """The pid of a new process, and the pipe by which its status will be told."""
        body = json.dumps(request).encode()
        status, theirs = os.pipe()
        try:
            with self._lock:
                socket.send_fds(self._control, [HEADER.pack(len(body))], [*descriptors, theirs])
                self._control.sendall(body)
        finally:
            os.close(theirs)
        (pid,) = STATUS.unpack(os.read(status, STATUS.size))
        return pid, status

    def end(self) -> None:
        """Let it go; what it forked stays."""
        self._control.close()
        self._process.wait()


_servers: Final[dict[str, _Server]] = {}
_starting: Final = threading.Lock()


@atexit.register
def _end_servers() -> None:
    while _servers:
        _servers.popitem()[1].end()


def _read_by_imports(environ: Mapping[str, str]) -> dict[str, str]:
    """All but our settings, the width (both read when a command runs), and the test's name: modules may read others."""
    return {name: value for name, value in environ.items() if not name.startswith((PREFIX, "PYTEST_", "COLUMNS"))}


def _server(command: str, environ: Mapping[str, str]) -> _Server | None:
    """The server of this command, started on first use and when our environment has changed; None for another one."""
    ours = _read_by_imports(os.environ)
    if _read_by_imports(environ) != ours:
        return None
    with _starting:
        if command in _servers and _servers[command].environ != ours:
            _servers.pop(command).end()
        if command not in _servers:
            _servers[command] = _Server(command)
        return _servers[command]


def _what(words: Sequence[str]) -> tuple[str, str, list[str]] | None:
    """The server that can fork this, the script or "", and the rest of the arguments; None: nobody can."""
    if words[:3] == PROGRAM:
        stage = words[3] if len(words) > 3 else ""
        return stage if stage in STAGES else _OTHERS, "", list(words[3:])
    if words[0] == sys.executable and len(words) > 1 and words[1].endswith(".py"):
        return _WORKER, words[1], list(words[2:])
    return None


class Popen(subprocess.Popen[AnyStr]):
    """As `subprocess.Popen`, forked if the environment differs from ours in settings alone; else it starts in full."""

    _status: int | None = None

    def _execute_child(self, *given: Any) -> None:
        how = _EXECUTE.bind(self, *given).arguments
        environ = os.environ if how["env"] is None else how["env"]
        special = [name for name in _UNKNOWN if how.get(name) not in {None, False, -1, ()}]
        what = None if special or isinstance(how["args"], str) else _what([os.fspath(word) for word in how["args"]])
        server = _server(what[0], environ) if what else None
        if what is None or server is None:
            super()._execute_child(*given)  # type: ignore[misc]
            return
        request = {
            "script": what[1],
            "argv": what[2],
            "environ": dict(environ),
            "directory": os.path.abspath(how["cwd"] or "."),  # noqa: PTH100 - a symbolic link stays one
            "session": how["start_new_session"],
        }
        ends = enumerate(how[name] for name in ("p2cread", "c2pwrite", "errwrite"))
        self.pid, self._status = server.start(request, [number if end == -1 else end for number, end in ends])
        self._child_created = True
        pipes = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")
        self._close_pipe_fds(*(how[name] for name in pipes))  # type: ignore[attr-defined]

    def _internal_poll(self, *given: Any, **named: Any) -> int | None:
        if self._status is None:
            return super()._internal_poll(*given, **named)  # type: ignore[misc, no-any-return]
        lock: threading.Lock = self._waitpid_lock  # type: ignore[attr-defined]
        if self.returncode is None and lock.acquire(blocking=False):
            try:
                ended, status = self._try_wait(os.WNOHANG)
                if ended:
                    self._handle_exitstatus(status)  # type: ignore[attr-defined]
            finally:
                lock.release()
        return self.returncode

    def _try_wait(self, wait_flags: int) -> tuple[int, int]:
        if self._status is None:
            return super()._try_wait(wait_flags)  # type: ignore[misc, no-any-return]
        if self.returncode is not None or (wait_flags and not select.select([self._status], [], [], 0)[0]):
            return 0, 0
        (status,) = STATUS.unpack(os.read(self._status, STATUS.size))
        os.close(self._status)
        return self.pid, status


def run(
    args: Sequence[str], *, stdout: int = subprocess.PIPE, stderr: int = subprocess.PIPE, **more: Any
) -> subprocess.CompletedProcess[str]:
    """As `subprocess.run` with text, without a check of the exit code."""
    with Popen(args, stdout=stdout, stderr=stderr, text=True, **more) as process:
        try:
            out, err = process.communicate()
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(args, process.returncode, out, err)
