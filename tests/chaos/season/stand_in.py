"""Customer.io for a season: the sandbox in a process of its own, with a log of every operation that it decides on.

`python -m tests.chaos.season.stand_in PORT SITE_ID KEY_FILE LOG`. SIGUSR1 makes it read the key anew.
"""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

import orjson
import uvloop

from pipeline import logs
from pipeline.customerio.sandbox.config import SandboxConfig
from pipeline.customerio.sandbox.faults import Fault, FaultScript
from pipeline.customerio.sandbox.run import GC_THRESHOLD
from pipeline.customerio.sandbox.server import SandboxServer
from pipeline.customerio.sandbox.workspace import Arrival, Workspace
from tests.chaos.season.record import Taken

KEEP: Final = 10_000_000


class Log:
    """Lines of JSON, one an operation, in the order in which they take effect; complete at any time."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)

    def write(self, line: dict[str, Any]) -> None:
        """One operation; the file has it when this returns."""
        self._file.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))


class LoggedWorkspace(Workspace):
    """A workspace that logs what it takes."""

    def __init__(self, config: SandboxConfig, log: Log) -> None:
        super().__init__(config)
        self._log = log

    def apply(self, operation: dict[str, Any], arrival: Arrival, index: int) -> None:
        """Likewise, and log it."""
        super().apply(operation, arrival, index)
        self._log.write(told(operation) | {"request": arrival.request, "item": index, "accepted": True})


class LoggedScript(FaultScript):
    """A fault script that logs what it has refused, whole: nothing else keeps it."""

    log: Log

    def take(self, *, path: str, number: int, operations: Sequence[Any]) -> Fault | None:
        """Likewise, and log it."""
        fault = super().take(path=path, number=number, operations=operations)
        if fault is not None and not fault.step.answers_itself:
            for index in sorted(fault.refused_items(len(operations))):
                operation = operations[index]
                line = {"request": number, "item": index, "accepted": False, "operation": operation}
                self.log.write(told(operation) | line)
        return fault


def told(operation: dict[str, Any]) -> dict[str, Any]:
    """What the log says of an operation."""
    is_event = operation.get("action") == "event"
    attributes = operation.get("attributes") or {}
    return {
        "at_s": time.time(),
        "person": operation.get("identifiers", {}).get("id", ""),
        "ulid": operation.get("id", "") if is_event else "",
        "name": operation.get("name", "") if is_event else "",
        "webhook_id": attributes.get("webhook_id", "") if is_event else "",
    }


def read(path: Path) -> Iterator[tuple[Taken, dict[str, Any] | None]]:
    """The log, with the operation where it was refused.

    What a request has refused is written before what is taken of it; here both are in the order of the request.
    """
    with path.open("rb") as file:
        entries = (orjson.loads(line) for line in file)
        for _, request in groupby(entries, key=itemgetter("request")):
            for entry in sorted(request, key=itemgetter("item")):
                operation = entry.pop("operation", None)
                yield Taken(**entry), operation


async def _serve(port: int, config: SandboxConfig, key_file: Path, log: Log) -> None:
    server = SandboxServer(config, port=port)
    sandbox, ended = server.sandbox, asyncio.Event()
    sandbox.workspace = LoggedWorkspace(config, log)
    sandbox.script = LoggedScript()
    sandbox.script.log = log

    def read_key() -> None:
        sandbox.config = replace(sandbox.config, api_key=key_file.read_text(encoding="ascii"))

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, read_key)
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    async with server:
        await ended.wait()


def main(arguments: Sequence[str]) -> None:
    """Serve until SIGTERM."""
    port, site_id, key_file, log = arguments
    gc.set_threshold(*GC_THRESHOLD)
    logs.configure(level="warning")
    key = Path(key_file).read_text(encoding="ascii")
    config = SandboxConfig(site_id=site_id, api_key=key, keep_events=KEEP)
    uvloop.run(_serve(int(port), config, Path(key_file), Log(Path(log))))


if __name__ == "__main__":
    main(sys.argv[1:])
