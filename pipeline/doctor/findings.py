"""What one look found: ok, a warning, a fault, or that nobody could tell."""

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
"""In the order in which they are looked at and shown."""

ON_KAFKA: Final[frozenset[Check]] = frozenset({"topics", "rights", "groups", "state", "dead-letters"})
"""Those that nobody can tell anything about while no broker answers."""

EXIT_CODES: Final[dict[Verdict, int]] = {"ok": 0, "unknown": 0, "warning": 1, "fault": 2}
"""The command's exit code is the highest of its findings'. What may not be seen is nobody's fault."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One look.

    Attributes:
        check: to which group it belongs.
        subject: what was looked at: a topic, a group, a setting.
        verdict: how it is.
        text: what was seen, in a sentence.
        remedy: what to do about it; None when there is nothing to do.
    """

    check: Check
    subject: str
    verdict: Verdict
    text: str
    remedy: str | None = None


def exit_code(findings: Iterable[Finding]) -> int:
    """0 when all is well as far as it can be seen, 1 with a warning, 2 with a fault."""
    return max((EXIT_CODES[finding.verdict] for finding in findings), default=0)
