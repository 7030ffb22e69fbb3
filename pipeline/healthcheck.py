"""The container's health check: `python -m pipeline.healthcheck` requests the stage's `/live`, and ends with 0 or 1.

For an image's HEALTHCHECK, which is run every few seconds for ever: so it imports nothing but the standard library, and
costs a tenth of what `dodo-cio` takes to start. A container that runs another command (`topics apply`, `backfill`) is
healthy as long as it runs.
"""

from __future__ import annotations

import http.client
import itertools
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

DEFAULT_PORTS: Final[Mapping[str, int]] = {"ingest": 8080, "transform": 8081, "sink": 8082}
"""Those of the settings, whose module takes ten times as long to import."""

FIRST_PROCESS: Final = Path("/proc/1/cmdline")
"""The container's own process, or the init before it, which names it."""

WITHIN_S: Final = 4.0
"""Docker gives up after five seconds (HEALTHCHECK --timeout), and then nobody reads why."""

ANYWHERE: Final = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 - what the stage listens on, not we
OK: Final = 200


class Address(NamedTuple):
    """Where the stage answers probes."""

    host: str
    port: int


def stage_of(command: Sequence[str]) -> str | None:
    """The stage in a process's command line, of `dodo-cio` or of Faust; None when it runs something else."""
    for number, (before, word) in enumerate(itertools.pairwise(command), 1):
        if Path(before).name == "dodo-cio":
            words = [now for then, now in itertools.pairwise(["", *command[number:]]) if then != "--color"]
            first = next((one for one in words if not one.startswith("-")), "")
            return first if first in DEFAULT_PORTS else None
        if before == "-A" and (stage := word.removeprefix("pipeline.").removesuffix(".app")) in DEFAULT_PORTS:
            return stage
    return None


def address_of(stage: str, command: Sequence[str], environ: Mapping[str, str]) -> Address:
    """The address that it answers at: from the flags, else from the settings, else the stage's own port.

    Raises:
        OSError: a file with a setting cannot be read.
        ValueError: the port is no number.
    """

    def given(name: str) -> str:
        flag = f"--{name.replace('_', '-')}"
        for number, word in enumerate(command):
            if word == flag and number + 1 < len(command):
                return command[number + 1]
            if word.startswith(f"{flag}="):
                return word.partition("=")[2]
        variable = f"PIPELINE_{name.upper()}"
        path = "" if environ.get(variable) else environ.get(f"{variable}_FILE")
        return Path(path).read_text(encoding="utf-8").rstrip("\r\n") if path else environ.get(variable, "")

    admin = given("admin_port") if stage == "ingest" else ""
    port = admin or given("port")
    host = given("host")
    return Address("127.0.0.1" if host in ANYWHERE else host, int(port) if port else DEFAULT_PORTS[stage])


def ask(address: Address) -> str | None:
    """None when the stage lives; otherwise what is wrong, in a line."""
    connection = http.client.HTTPConnection(address.host, address.port, timeout=WITHIN_S)
    try:
        connection.request("GET", "/live")
        answer = connection.getresponse()
        body = answer.read()
    except (OSError, http.client.HTTPException) as error:
        return f"nobody answers at {address.host}:{address.port}: {error}"
    finally:
        connection.close()
    if answer.status == OK:
        return None
    return f"/live at {address.host}:{address.port} is {answer.status}: {_reason(body)}"


def _reason(body: bytes) -> str:
    try:
        return str(json.loads(body)["reason"])
    except (ValueError, KeyError, TypeError):
        return body.decode("utf-8", "replace")


def main(arguments: Sequence[str] = ()) -> int:
    """The exit code: 0 alive or no stage, 1 not. `arguments` are the command line, where it is not the container's."""
    command = list(arguments) or FIRST_PROCESS.read_text(encoding="utf-8", errors="replace").split("\0")
    stage = stage_of(command)
    if stage is None:
        return 0
    try:
        trouble = ask(address_of(stage, command, os.environ))
    except (OSError, ValueError) as error:
        trouble = f"where the stage answers cannot be told: {error}"
    if trouble is not None:
        print(trouble)  # noqa: T201 - `docker inspect` shows it
    return 0 if trouble is None else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
