"""A Python that has imported one command of ours and waits: each start of the command is a fork of it (`tests.forked`).

A program of its own, with one thread and without a loop, so that a fork takes along nothing but imported modules. What
then happens in the child is `python -m pipeline`, or a script, from its first line on.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import runpy
import select
import signal
import socket
import struct
import sys
from typing import Any, Final

HEADER: Final = struct.Struct("!I")
"""Length of a request, which is JSON: `script` ("" is our command line), `argv`, `environ`, `directory`, and whether it
is to have a `session` of its own."""

STATUS: Final = struct.Struct("!i")
"""First the child's pid, at its end what waitpid says of it."""

OF_COMMANDS: Final = ("typer.rich_utils", "pipeline.plain_httpx", "pipeline.kafka.cluster.topics")
"""What commands that are no stages import when they run: for --help, for HTTP, for Kafka."""

DESCRIPTORS: Final = 4
"""Of a request: standard input, output and error, and the pipe for its status."""


def load(command: str) -> None:
    """Import what `python -m pipeline <command>` imports before it does anything."""
    from pipeline import __main__ as program
    from pipeline import plain_faust
    from pipeline.cli import build
    from pipeline.imports import uncollected

    with uncollected():
        if command in program.FAUST:
            plain_faust.load()
        for name in [program.STAGES[command]] if command in program.STAGES else OF_COMMANDS:
            importlib.import_module(name)
        build()
    del sys.modules[program.__name__]  # the child runs it


def serve(control: socket.socket) -> str | None:
    """Fork for each request: in a child its script, with all else as was asked for; None when nobody asks any more."""
    children: dict[int, int] = {}
    woken, wakes = os.pipe()
    for end in (woken, wakes):
        os.set_blocking(end, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for those who run the tests
    signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
    awaited: list[Any] = [control, woken]
    while True:
        ready, _, _ = select.select(awaited, [], [])
        if woken in ready:
            os.read(woken, 4096)
            _reap(children)
        if control in ready:
            header, descriptors, _, _ = socket.recv_fds(control, HEADER.size, DESCRIPTORS, socket.MSG_WAITALL)
            if not header:
                return None
            (length,) = HEADER.unpack(header)
            request = json.loads(control.recv(length, socket.MSG_WAITALL))
            *standard, status = descriptors
            if (pid := os.fork()) == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                signal.signal(signal.SIGINT, signal.default_int_handler)
                control.close()
                _become(request, standard, close=[status, woken, wakes, *children.values()])
                return str(request["script"])
            children[pid] = status
            with contextlib.suppress(BrokenPipeError):
                os.write(status, STATUS.pack(pid))
            for descriptor in standard:
                os.close(descriptor)


def _reap(children: dict[int, int]) -> None:
    for pid in list(children):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            pipe = children.pop(pid)
            with contextlib.suppress(BrokenPipeError):  # whoever asked does not wait for it
                os.write(pipe, STATUS.pack(status))
            os.close(pipe)


def _become(request: dict[str, Any], standard: list[int], close: list[int]) -> None:
    if request["session"]:
        os.setsid()
    for number, descriptor in enumerate(standard):
        os.dup2(descriptor, number)
    for descriptor in [*standard, *close]:
        os.close(descriptor)
    os.chdir(request["directory"])
    os.environ.clear()
    os.environ.update(request["environ"])
    script = request["script"]
    sys.argv[:] = [script or "-m", *request["argv"]]
    sys.path.insert(0, os.path.dirname(script) if script else request["directory"])  # noqa: PTH120 - as Python does


if __name__ == "__main__":
    load(sys.argv[1])
    if (asked := serve(socket.socket(fileno=int(sys.argv[2])))) is not None:
        if asked:
            runpy.run_path(asked, run_name="__main__")
        else:
            runpy.run_module("pipeline", run_name="__main__", alter_sys=True)
