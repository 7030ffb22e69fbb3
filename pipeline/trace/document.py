"""A story as a JSON document, for `--json` and for screens; personal data is masked unless `reveal`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, get_args

from pipeline.deadletters.document import mask_word
from pipeline.deadletters.masking import Mask, mask_body, mask_id, mask_place, mask_text, mask_type, mask_unless
from pipeline.deadletters.times import written
from pipeline.dodo.signature import Mode
from pipeline.trace.story import LETTER, Operation, Step, Story
from pipeline.transform.verdicts import OperationKind

_mask_kind: Final = mask_unless({*get_args(OperationKind), *get_args(Mode)}.__contains__)
"""The kind of an operation, or a mode."""


def document(story: Story, *, reveal: bool) -> dict[str, Any]:
    """The document of one webhook. Times are ISO 8601 in UTC; what is unknown is null."""
    words = () if reveal else story.private

    def clean(text: str | None, mask: Mask = mask_text) -> str | None:
        return text if reveal or text is None else mask(text, words)

    def step(one: Step) -> dict[str, Any]:
        stage, place = clean(one.stage, mask_word), clean(one.place, _mask_place)
        return {"at": _at(one.at_ms), "stage": stage, "what": clean(one.text), "place": place}

    def operation(one: Operation) -> dict[str, Any]:
        return {
            "op_id": clean(one.op_id, mask_id),
            "kind": clean(one.kind, _mask_kind),
            "name": clean(one.name),
            "fate": one.fate,
            "reason": clean(one.why),
            "place": clean(one.place, _mask_place),
            "written_at": _at(one.written_ms),
            "event_late_s": one.late_s if one.kind == "event" else None,
            "body": one.body if reveal else mask_body(one.body, words),
        }

    return {
        "webhook_id": clean(story.webhook_id, mask_id),
        "type": clean(story.type, mask_type),
        "mode": clean(story.mode, _mask_kind),
        "customer": clean(story.customer),
        "fate": story.fate,
        "reason": clean(story.reason),
        "steps": [step(one) for one in story.steps],
        "operations": [operation(one) for one in story.operations],
        "advice": [clean(one) for one in story.advice],
    }


def _mask_place(text: str, private: Iterable[str] = ()) -> str:
    if text.startswith(LETTER):
        return LETTER + mask_place(text.removeprefix(LETTER), private)
    return mask_place(text, private)


def _at(at_ms: int | None) -> str | None:
    return None if at_ms is None else written(at_ms)
