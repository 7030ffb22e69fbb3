"""A story as a JSON document, for `--json` and for screens; personal data is masked unless `reveal`."""

from __future__ import annotations

from typing import Any

from pipeline.deadletters.masking import mask_body, mask_text, private_words
from pipeline.deadletters.times import written
from pipeline.trace.story import Operation, Step, Story


def document(story: Story, *, reveal: bool) -> dict[str, Any]:
    """The document of one webhook. Times are ISO 8601 in UTC; what is unknown is null."""
    words = () if reveal else tuple({word for one in story.operations for word in private_words(one.body)})

    def clean(text: str | None) -> str | None:
        return text if reveal or text is None else mask_text(text, words)

    def step(one: Step) -> dict[str, Any]:
        return {"at": _at(one.at_ms), "stage": one.stage, "what": clean(one.text), "place": one.place}

    def operation(one: Operation) -> dict[str, Any]:
        return {
            "op_id": one.op_id,
            "kind": one.kind,
            "name": one.name,
            "fate": one.fate,
            "reason": clean(one.why),
            "place": one.place,
            "written_at": _at(one.written_ms),
            "event_late_s": one.late_s if one.kind == "event" else None,
            "body": one.body if reveal else mask_body(one.body),
        }

    return {
        "webhook_id": story.webhook_id,
        "type": story.type,
        "mode": story.mode,
        "customer": clean(story.customer),
        "fate": story.fate,
        "reason": clean(story.reason),
        "steps": [step(one) for one in story.steps],
        "operations": [operation(one) for one in story.operations],
        "advice": [clean(one) for one in story.advice],
    }


def _at(at_ms: int | None) -> str | None:
    return None if at_ms is None else written(at_ms)
