"""Checks the installation: that libraries run as compiled code, as tested, and that needed extras are installed."""

from __future__ import annotations

from pipeline.compiled import PARTS, replaced
from pipeline.doctor.findings import Finding
from pipeline.extras import missing
from pipeline.settings import Settings


def installation(settings: Settings) -> list[Finding]:
    """Extras that these settings need and that are missing, and libraries that lack their compiled parts; offline."""
    lacking = [
        Finding("installation", f"extra {extra.name}", "fault", f"{extra.variable}: {extra.needs}", extra.remedy)
        for extra in missing(settings)
    ]
    found = [Finding("installation", part.name, "warning", part.costs, part.remedy()) for part in replaced()]
    names = ", ".join(part.name for part in PARTS)
    return [*lacking, *found] or [Finding("installation", "compiled parts", "ok", f"all run as machine code: {names}")]
