"""The result as a person reads it, and as a machine does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from pipeline.demo.reconcile import Check

NOTES_FROM_COLUMNS = 96
"""On a narrower terminal the notes would wrap and tear the table apart."""


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast it went; unknown is None, never 0."""

    webhooks_per_second: float | None
    records_per_second: float | None
    """Webhook and operation records moved, from the first post to the last acceptance."""
    latency_p50_ms: float | None
    latency_p99_ms: float | None
    """From the first post of a webhook to the sandbox's acceptance of its event."""
    seconds: float


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that Customer.io saw of one customer."""

    at: str
    name: str
    shown: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that the demo found out."""

    checks: Sequence[Check]
    dropped: Mapping[str, int]
    held_back: Mapping[str, int]
    """Webhooks that become nothing by rule, by reason."""
    speed: Speed
    customer: str
    journey: Sequence[Step]
    profile: Mapping[str, Any]
    """What the identifies left on that customer's profile."""

    @property
    def ok(self) -> bool:
        """Whether every row reconciles."""
        return all(check.ok for check in self.checks)

    def as_json(self) -> dict[str, Any]:
        """The machine form: stable keys, plain values."""
        return {
            "ok": self.ok,
            "checks": [
                {"name": c.name, "expected": c.expected, "seen": c.seen, "ok": c.ok, "note": c.note}
                for c in self.checks
            ],
            "dropped": dict(self.dropped),
            "held_back": dict(self.held_back),
            "speed": asdict(self.speed),
            "journey": {
                "customer": self.customer,
                "steps": [asdict(step) for step in self.journey],
                "profile": dict(self.profile),
            },
        }


def show(report: Report, console: Console) -> None:
    """Print the table, the speed and one customer's journey."""
    console.print(_checks(report.checks, notes=console.width >= NOTES_FROM_COLUMNS))
    if report.dropped:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in sorted(report.dropped.items()))
        console.print(f"[dim]Dropped by rule: {reasons}[/]")
    if report.held_back:
        reasons = ", ".join(f"{code} {count:,}" for code, count in sorted(report.held_back.items()))
        console.print(f"[dim]Not said again: {reasons}[/]")
    speed = report.speed
    console.print(
        f"\n{_number(speed.webhooks_per_second)} webhooks/s, {_number(speed.records_per_second)} records/s; "
        f"webhook → accepted p50 {_number(speed.latency_p50_ms)} ms, p99 {_number(speed.latency_p99_ms)} ms; "
        f"{speed.seconds:.1f} s in all\n"
    )
    console.print(_journey(report))
    profile = "  ".join(f"[dim]{name}[/] {value}" for name, value in report.profile.items())
    console.print(f"Profile at the end: {profile}\n")
    if report.ok:
        console.print("[bold green]Every number reconciles.[/]")
    else:
        wrong = ", ".join(check.name for check in report.checks if not check.ok)
        console.print(f"[bold red]These numbers do not reconcile:[/] {wrong}")


def _checks(checks: Sequence[Check], *, notes: bool) -> Table:
    table = Table(title="Counted twice", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("", no_wrap=True)
    table.add_column("expected", justify="right", no_wrap=True)
    table.add_column("seen", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    if notes:
        table.add_column("", style="dim")
    for check in checks:
        verdict = "[green]ok[/]" if check.ok else "[bold red]differs[/]"
        row = [check.name, _text(check.expected), _text(check.seen), verdict]
        table.add_row(*row, *([check.note] if notes else []))
    return table


def _journey(report: Report) -> Table:
    table = Table(
        title=f"What Customer.io saw of {report.customer}", title_justify="left", box=SIMPLE_HEAD, pad_edge=False
    )
    table.add_column("event time (UTC)", no_wrap=True)
    table.add_column("event", style="cyan", no_wrap=True)
    table.add_column("", style="dim")
    for step in report.journey:
        table.add_row(step.at, step.name, "  ".join(str(value) for value in step.shown.values()))
    return table


def _text(value: Any) -> str:
    match value:
        case int():
            return f"{value:,}"
        case (int() as count, int() as minor):
            return f"{count:,} / {minor:,}"
        case None:
            return "unknown"
        case _:
            return str(value)


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:,.0f}"
