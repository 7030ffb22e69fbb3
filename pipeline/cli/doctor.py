"""`dodo-cio doctor`: shows what is wrong, and what to do about it."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Optional, cast

import typer

from pipeline import logs
from pipeline.cli.screen import say
from pipeline.errors import InputError, SettingsError
from pipeline.interruption import until_told
from pipeline.settings import Settings

if TYPE_CHECKING:
    from pipeline.doctor.findings import Check, Finding

MARKS = {
    "ok": ("ok", "green"),
    "warning": ("WARNING", "yellow"),
    "fault": ("FAULT", "red"),
    "unknown": ("unknown", "cyan"),
}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("doctor")(doctor)


def doctor(
    *,
    only: Annotated[
        Optional[list[str]],
        typer.Option(
            metavar="CHECK",
            help="Look at this alone; several times for several: settings, installation, brokers, topics, rights, "
            "groups, state, dead-letters, customerio, dodo, mapping.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Look at everything that can be seen from outside, and say what is wrong and what to do.

    Settings, the installation, brokers, topics, rights, the groups and their lag, the customers' state, dead letters,
    Customer.io, Dodo and the mapping of the samples. It joins no group, commits nothing, writes nothing and sends no
    operation; what this user may not see is `unknown`, which is no fault. Run it where a stage runs, with that stage's
    settings.

    Exit codes: 0 all is well as far as can be seen, 1 warnings, 2 faults.

    Examples: `dodo-cio doctor`, `dodo-cio doctor --only brokers --only topics`, `dodo-cio doctor --json`
    """
    from pipeline.doctor.findings import exit_code

    wanted = _checks(only or [])
    findings: list[Finding] = []

    async def look() -> None:
        async for finding in _findings(wanted):
            findings.append(finding)
            if not as_json:
                _print(finding)

    asyncio.run(until_told(look()))
    code = exit_code(findings)
    if as_json:
        document = {"exit_code": code, "findings": [asdict(finding) for finding in findings]}
        typer.echo(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        _print_summary(findings)
    if code:
        raise typer.Exit(code)


def _checks(names: Sequence[str]) -> tuple[Check, ...]:
    from pipeline.doctor.findings import CHECKS

    if unknown := [name for name in names if name not in CHECKS]:
        raise InputError(f"--only {unknown[0]}: there is no such check; there are {', '.join(CHECKS)}")
    return tuple(check for check in CHECKS if not names or check in names)


async def _findings(wanted: Sequence[Check]) -> AsyncIterator[Finding]:
    from pipeline.cli.settings import overview
    from pipeline.doctor.examination import examine
    from pipeline.doctor.findings import Finding
    from pipeline.doctor.settings import faults

    seen = overview(os.environ)
    found = faults(seen.faults, seen.unknown)
    if "settings" in wanted:
        for finding in found:
            yield finding
    try:
        settings = Settings.load()
    except SettingsError as error:
        if not any(finding.verdict == "fault" for finding in found):
            yield Finding("settings", "environment", "fault", str(error), "change it")
        for check in wanted:
            if check != "settings":
                yield Finding(check, "all", "unknown", "the settings must be right first")
        return
    _quiet(settings)
    noticed = bool(found)
    async for finding in examine(settings, wanted):
        if not (noticed and finding.check == "settings" and finding.verdict == "ok"):
            yield finding


def _quiet(settings: Settings) -> None:
    """Silence the log, since every result is a finding; clients' logs are still collected for the reasons in them."""
    logs.configure(log_format=settings.log_format, level="warning", secrets=settings.secrets)
    for handler in logging.getLogger().handlers:
        handler.addFilter(lambda _: False)


def _print(finding: Finding) -> None:
    from pipeline.cli.screen import line, output, visible

    console = output()
    mark, colour = MARKS[finding.verdict]
    said = visible(f"{finding.subject}: {finding.text}")
    line(console, (f"{mark:<8}", f"bold {colour}"), (f"{finding.check}: ", "dim"), said, indent=8)
    if finding.remedy is not None:
        line(console, (visible(f"        → {finding.remedy}"), "bold"), indent=10)


def _print_summary(findings: Sequence[Finding]) -> None:
    from collections import Counter

    counts = Counter(cast("str", finding.verdict) for finding in findings)
    told = [f"{counts[verdict]} {verdict}" for verdict in ("fault", "warning", "unknown", "ok") if counts[verdict]]
    say(f"\n{len(findings)} looks: {', '.join(told)}")
