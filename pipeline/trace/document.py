"""A story as a JSON document, for `--json` and for screens; personal data is masked unless `reveal`."""

from __future__ import annotations

from typing import Any

from pipeline.deadletters.document import Mask
from pipeline.deadletters.masking import mask_body, mask_id, mask_text, mask_type
from pipeline.deadletters.times import written
from pipeline.trace.story import Operation, Step, Story


def document(story: Story, *, reveal: bool) -> dict[str, Any]:
    """The document of one webhook. Times are ISO 8601 in UTC; what is unknown is null."""
    words = () if reveal else story.private

    def clean(text: str | None, mask: Mask = mask_text) -> str | None:
        return text if reveal or text is None else mask(text, words)

    def step(one: Step) -> dict[str, Any]:
        return {"at": _at(one.at_ms), "stage": clean(one.stage), "what": clean(one.text), "place": clean(one.place)}

    def operation(one: Operation) -> dict[str, Any]:
        return {
            "op_id": clean(one.op_id, mask_id),
            "kind": clean(one.kind),
            "name": clean(one.name),
            "fate": one.fate,
            "reason": clean(one.why),
            "place": clean(one.place),
            "written_at": _at(one.written_ms),
            "event_late_s": one.late_s if one.kind == "event" else None,
            "body": one.body if reveal else mask_body(one.body, words),
        }

    return {
        "webhook_id": clean(story.webhook_id, mask_id),
        "type": clean(story.type, mask_type),
        "mode": clean(story.mode),
        "customer": clean(story.customer),
        "fate": story.fate,
        "reason": clean(story.reason),
        "steps": [step(one) for one in story.steps],
        "operations": [operation(one) for one in story.operations],
        "advice": [clean(one) for one in story.advice],
    }


def _at(at_ms: int | None) -> str | None:
    return None if at_ms is None else written(at_ms)
