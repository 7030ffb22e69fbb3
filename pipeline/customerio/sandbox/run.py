"""Runs a sandbox as a process until Ctrl-C or SIGTERM, with a status line on the terminal."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import shutil
import sys
from collections.abc import Callable, Mapping
from typing import Final, TextIO

import orjson
import uvloop

from pipeline import signals
from pipeline.customerio.sandbox.config import SandboxConfig
from pipeline.customerio.sandbox.server import SandboxServer
from pipeline.customerio.sandbox.state import Sandbox

REFRESH_S: Final = 0.5
SEPARATOR: Final = " · "
CLEAR_LINE: Final = "\r\x1b[2K"

GC_THRESHOLD: Final = (50_000, 20, 50)
"""What is kept here has no cycles. With Python's own thresholds each batch scans all of it: a third of the time."""

ANY: Final = "any-key-is-taken"
"""The credentials that are shown when any are accepted. No word that logs have: secrets are masked in all of them."""


def run(config: SandboxConfig, *, host: str, port: int, json: bool, say: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        config: how the sandbox behaves.
        host: address to listen on.
        port: port to listen on; 0 takes any free one.
        json: print address and settings as one JSON line, and nothing more.
        say: prints a line.

    Raises:
        SettingsError: the address cannot be used.
    """
    gc.set_threshold(*GC_THRESHOLD)
    uvloop.run(_serve(config, host, port, json=json, say=say))


def environment(url: str, config: SandboxConfig) -> dict[str, str]:
    """The settings with which the sink sends to this sandbox; an API key that the caller gave is not repeated."""
    settings = {"PIPELINE_CUSTOMERIO_URL": url, "PIPELINE_CUSTOMERIO_SITE_ID": config.site_id or ANY}
    if config.api_key is None:
        settings["PIPELINE_CUSTOMERIO_API_KEY"] = ANY
    return settings


def summary(sandbox: Sandbox, operations_per_second: float | None = None) -> str:
    """What happened so far, in one line."""
    requests, workspace = sandbox.requests, sandbox.workspace
    parts = [f"{requests.total:,} requests", f"{requests.accepted:,} operations accepted"]
    if operations_per_second is not None:
        parts.append(f"{operations_per_second:,.0f}/s")
    parts += [f"{requests.refused:,} refused", f"{workspace.events.duplicates:,} duplicates absorbed"]
    if throttled := requests.statuses[429]:
        parts.append(f"{throttled:,} throttled")
    parts += [f"{len(workspace.people):,} people", f"{workspace.events.stored:,} events"]
    return SEPARATOR.join(parts)


def shortened(text: str, columns: int) -> str:
    """The first parts of the summary, as many as fit into a line; no part is cut."""
    parts = text.split(SEPARATOR)
    while len(parts) > 1 and len(SEPARATOR.join(parts)) > columns:
        parts.pop()
    kept = SEPARATOR.join(parts)
    return kept if len(kept) <= columns else ""


async def _serve(config: SandboxConfig, host: str, port: int, *, json: bool, say: Callable[[str], None]) -> None:
    stopped = asyncio.Event()

    def stop(_number: int) -> None:
        stopped.set()

    with signals.listening(asyncio.get_running_loop().call_soon_threadsafe, stop):
        await _until(stopped, config, host, port, json=json, say=say)


async def _until(
    stopped: asyncio.Event, config: SandboxConfig, host: str, port: int, *, json: bool, say: Callable[[str], None]
) -> None:
    async with SandboxServer(config, host=host, port=port) as server:
        settings = environment(server.url, config)
        if json:
            say(orjson.dumps({"url": server.url, "region": config.region, "environment": settings}).decode())
            await stopped.wait()
            return
        say(_greeting(server.url, config, settings))
        if sys.stderr.isatty():
            await _show(server.sandbox, stopped, sys.stderr)
        await stopped.wait()
    say(summary(server.sandbox))


def _greeting(url: str, config: SandboxConfig, settings: Mapping[str, str]) -> str:
    mode = "lenient" if config.lenient else "strict"
    rate = f", {config.rate_limit:g} requests/s" if config.rate_limit else ""
    who = "the given credentials" if config.site_id or config.api_key else "any credentials"
    lines = [f"Customer.io sandbox at {url} ({config.region}, {mode}{rate}); takes {who}.", ""]
    lines += [f"  export {name}={value}" for name, value in settings.items()]
    return "\n".join([*lines, "", f"Look inside: {url}/__sandbox   Stop: Ctrl-C"])


async def _show(sandbox: Sandbox, stopped: asyncio.Event, terminal: TextIO) -> None:
    """Keep one line up to date until stopped."""
    before = 0
    while not stopped.is_set():
        accepted = sandbox.requests.accepted
        rate = max(0, accepted - before) / REFRESH_S  # a reset sets the count back
        before = accepted
        # A line that wraps is more than CLEAR_LINE clears, and each refresh would leave a copy of it.
        terminal.write(CLEAR_LINE + shortened(summary(sandbox, rate), shutil.get_terminal_size().columns - 1))
        terminal.flush()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(REFRESH_S):
                await stopped.wait()
    terminal.write(CLEAR_LINE)
    terminal.flush()
