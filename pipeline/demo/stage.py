"""Runs the demo for a person at a terminal: progress, interruption, cleaning up."""

from __future__ import annotations

import asyncio
import json
import shlex
import shutil
import signal
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from pipeline import logs
from pipeline.demo.chain import Chain
from pipeline.demo.report import show
from pipeline.demo.run import run
from pipeline.interruption import until_told
from pipeline.kafka.noise import quieten

CANCEL_AGAIN_S = 20.0
"""The processes and the broker are stopped in order meanwhile."""

INTERRUPTED = 130
"""What a shell reports of a program that Ctrl-C ended (128 + SIGINT)."""


def perform(*, webhooks: int, partitions: int, keep: bool, as_json: bool) -> int:
    """Run the demo and print its result; returns the exit code. What was started is stopped in every case."""
    logs.configure(level="warning")
    quieten()
    talk = Console(stderr=True, log_path=False)
    directory = Path(tempfile.mkdtemp(prefix="dodo-cio-demo-"))
    tidy = False
    try:
        work = _perform(directory, webhooks, partitions, keep=keep, as_json=as_json, talk=talk)
        # SIGTERM (a supervisor's, `timeout`'s) cleans up like Ctrl-C.
        tidy = asyncio.run(until_told(work, (signal.SIGINT, signal.SIGTERM), CANCEL_AGAIN_S))
    except (KeyboardInterrupt, asyncio.CancelledError):
        tidy = True
        talk.print("Interrupted; everything that was started is stopped.")
        return INTERRUPTED
    else:
        return 0 if tidy else 1
    finally:
        if tidy:
            shutil.rmtree(directory, ignore_errors=True)
        else:
            shutil.rmtree(directory / "kafka", ignore_errors=True)
            talk.print(f"The logs of each process are in {directory / 'logs'}")


async def _perform(
    directory: Path, webhooks: int, partitions: int, *, keep: bool, as_json: bool, talk: Console
) -> bool:
    say = talk.log if talk.is_terminal else talk.print
    async with Chain(directory, partitions=partitions, say=say) as chain:
        with _Bars(talk, webhooks) as bars:
            report = await run(chain, webhooks, bars.expecting)
        if as_json:
            sys.stdout.write(json.dumps(report.as_json()) + "\n")
            sys.stdout.flush()
        else:
            show(report, _wide(Console()))
        if keep:
            _keep(chain, talk)
            with suppress(asyncio.CancelledError):  # the way to end it, and no interruption
                await asyncio.Event().wait()
        talk.print("Stopping everything")
    return report.ok


def _keep(chain: Chain, talk: Console) -> None:
    at = chain.addresses
    talk.print(
        f"\nStill running until Ctrl-C:\n"
        f"  Apache Kafka   {at.kafka}\n"
        f"  status page    {at.sink}/\n"
        f"  ingest         {at.ingest}/webhooks/dodo\n"
        f"  transform      {at.transform}/metrics\n"
        f"  sink           {at.sink}/metrics\n"
        f"  sandbox        {at.sandbox}/__sandbox/people\n"
        f"  logs           {chain.logs}"
    )
    talk.print("\nIn another terminal, for dodo-cio lag, dlq, trace and send-test:")
    for text in exports(chain.exports):
        # Neither wrapped nor marked up: it is there to be copied.
        talk.print(text, soft_wrap=True, markup=False, highlight=False, emoji=False)


def exports(variables: Mapping[str, str]) -> list[str]:
    """Lines for a shell that set these variables."""
    return [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]


def _wide(console: Console) -> Console:
    """A pipe or a file has no width; rich would take 80 columns and wrap."""
    return console if console.is_terminal else Console(width=120)


class _Bars:
    """Two bars on a terminal, nothing in a pipe."""

    def __init__(self, console: Console, webhooks: int) -> None:
        self._bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._sent = self._bars.add_task("webhooks posted", total=webhooks)
        self._delivered: TaskID | None = None

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def expecting(self, operations: int) -> Self:
        self._delivered = self._bars.add_task("operations accepted", total=operations)
        return self

    def sent(self, count: int) -> None:
        self._bars.update(self._sent, completed=count)

    def delivered(self, count: int) -> None:
        if self._delivered is not None:
            self._bars.update(self._delivered, completed=count)
