"""Findings: the results of checks: ok, a warning, a fault, or unknown."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

Verdict = Literal["ok", "warning", "fault", "unknown"]

Check = Literal[
    "settings", "installation", "brokers", "topics", "rights", "groups", "state", "dead-letters", "customerio", "dodo",
    "mapping",
]  # fmt: skip

CHECKS: Final[tuple[Check, ...]] = (
    "settings", "installation", "brokers", "topics", "rights", "groups", "state", "dead-letters", "customerio", "dodo",
    "mapping",
)  # fmt: skip
"""All checks, in the order in which they run and are shown."""

ON_KAFKA: Final[frozenset[Check]] = frozenset({"topics", "rights", "groups", "state", "dead-letters"})
"""The checks whose result is unknown while no broker answers."""

EXIT_CODES: Final[dict[Verdict, int]] = {"ok": 0, "unknown": 0, "warning": 1, "fault": 2}
"""The command's exit code is the highest of its findings'. What is unknown is not a fault."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One result of a check.

    Attributes:
        check: which check found it.
        subject: what was checked: a topic, a group, a setting.
        verdict: ok, a warning, a fault or unknown.
        text: what was found, in a sentence.
        remedy: what to do about it; None when there is nothing to do.
    """

    check: Check
    subject: str
    verdict: Verdict
    text: str
    remedy: str | None = None


def exit_code(findings: Iterable[Finding]) -> int:
    """0 if no finding is a warning or a fault, 1 with a warning, 2 with a fault."""
    return max((EXIT_CODES[finding.verdict] for finding in findings), default=0)
