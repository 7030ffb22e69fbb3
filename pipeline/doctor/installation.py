"""The installation: that libraries run as the machine code that was locked and tested, and that extras are there."""

from __future__ import annotations

from pipeline.compiled import PARTS, replaced
from pipeline.doctor.findings import Finding
from pipeline.extras import missing
from pipeline.settings import Settings


def installation(settings: Settings) -> list[Finding]:
    """What stages of these settings lack, and whether libraries run without their compiled parts; offline."""
    lacking = [
        Finding("installation", f"extra {extra.name}", "fault", f"{extra.variable}: {extra.needs}", extra.remedy)
        for extra in missing(settings)
    ]
    found = [Finding("installation", part.name, "warning", part.costs, part.remedy()) for part in replaced()]
    names = ", ".join(part.name for part in PARTS)
    return [*lacking, *found] or [Finding("installation", "compiled parts", "ok", f"all run as machine code: {names}")]
