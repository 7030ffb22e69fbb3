"""The installation: that libraries run as the machine code that was locked and tested."""

from __future__ import annotations

from pipeline.compiled import PARTS, replaced
from pipeline.doctor.findings import Finding


def installation() -> list[Finding]:
    """One finding for each library that runs without its compiled parts, or that all have theirs; offline."""
    found = [Finding("installation", part.name, "warning", part.costs, part.remedy()) for part in replaced()]
    names = ", ".join(part.name for part in PARTS)
    return found or [Finding("installation", "compiled parts", "ok", f"all run as machine code: {names}")]
