"""Documents and looks for tests."""

from __future__ import annotations

from typing import Any

from pipeline.settings import Stage
from pipeline.watch.page.document import Look, StageDocument
from pipeline.watch.vitals import Verdict

YES = Verdict(ok=True, reason="fine")
NO = Verdict(ok=False, reason="the consumer group is rebalancing")


def document(stage: Stage = "sink", process: str = "", **fields: Any) -> StageDocument:
    """A document of a process that is well, but for these fields."""
    known = {
        "process": process or stage,
        "version": "1.2.3",
        "started_at_ms": 1_000,
        "at_ms": 61_000,
        "ready": True,
        "ready_reason": "fine",
        "live": True,
        "live_reason": "fine",
    }
    return StageDocument.model_validate({**known, "stage": stage, **fields})


def look(**fields: Any) -> Look:
    """A look at a process that is well and has no series, but for these fields."""
    return Look(**{"ready": YES, "live": YES, "families": (), **fields})
