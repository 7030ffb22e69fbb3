"""A dead letter as a JSON document, for `--json` and for screens; personal data is masked unless `reveal`."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, Final, get_args

from pipeline.deadletters.envelope import CLASSES
from pipeline.deadletters.letter import Letter, json_object
from pipeline.deadletters.masking import (
    Mask,
    mask_body,
    mask_id,
    mask_place,
    mask_text,
    mask_type,
    mask_unless,
    private_in,
)
from pipeline.deadletters.receipts import PutBack
from pipeline.deadletters.times import written
from pipeline.kafka.records import (
    DLQ_AT,
    DLQ_CLASS,
    DLQ_SOURCE,
    DLQ_STAGE,
    DODO_TYPE,
    EVENT_TIME,
    OP_ID,
    RECEIVED_AT,
    SOURCE,
    WEBHOOK_ID,
    WEBHOOK_TIMESTAMP,
    Record,
)
from pipeline.settings import Stage

mask_word: Final = mask_unless({*CLASSES, *get_args(Stage)}.__contains__)
"""The class or stage of a letter: whoever is called so, it names nobody."""

MASKS: Final[Mapping[str, Mask]] = {
    WEBHOOK_ID: mask_id,
    OP_ID: mask_id,
    DODO_TYPE: mask_type,
    DLQ_STAGE: mask_word,
    DLQ_CLASS: mask_word,
    DLQ_SOURCE: mask_place,
    SOURCE: mask_place,
}
"""How headers that name things are masked; the others are texts."""

TIMES: Final = frozenset({DLQ_AT, RECEIVED_AT, EVENT_TIME, WEBHOOK_TIMESTAMP})
"""Headers whose long numbers are times, not personal data."""


def summary(record: Record, letter: Letter, put_back: PutBack, *, reveal: bool) -> dict[str, Any]:
    """The summary of a letter: an object of `dlq list --json`. Times are ISO 8601 in UTC; what is unknown is null."""
    words = () if reveal else private_in(record.value)

    def clean(text: str | None, mask: Mask = mask_text) -> str | None:
        return text if reveal or text is None else mask(text, words)

    return {
        "letter": str(letter.place),
        "partition": letter.place.partition,
        "offset": letter.place.offset,
        "at": written(letter.at_ms),
        "stage": clean(letter.stage, mask_word),
        "class": clean(letter.class_, mask_word),
        "type": clean(letter.type, mask_type),
        "customer": clean(letter.customer_id),
        "email": letter.email if reveal or letter.email is None else "[email]",
        "name": letter.name if reveal or letter.name is None else "[name]",
        "reason": clean(letter.reason),
        "field": clean(letter.field),
        "status": letter.status,
        "source": clean(letter.source, mask_place),
        "attempts": letter.attempts,
        "replays": letter.replays,
        "put_back": put_back.times,
        "put_back_at": written(put_back.last_ms) if put_back.times else None,
        "webhook_id": clean(letter.webhook_id, mask_id),
        "op_id": clean(letter.op_id, mask_id),
        "bytes": len(record.value or b""),
    }


def details(record: Record, letter: Letter, put_back: PutBack, *, reveal: bool) -> dict[str, Any]:
    """The same with key, headers and body.

    `body` is the JSON object. If the value is not one, it is text under `text`, or `base64` if it is not UTF-8 either;
    such a value is shown only with `reveal`, since personal data cannot be found in it.
    """
    body = json_object(record.value)
    words = () if reveal else private_in(record.value)

    def clean(raw: bytes | None, mask: Mask = mask_text) -> str | None:
        if raw is None:
            return None
        text = raw.decode("utf-8", "backslashreplace")
        return text if reveal else mask(text, words)

    found = summary(record, letter, put_back, reveal=reveal) | {
        "key": clean(record.key),
        "headers": [
            [name, value.decode()]
            if name.lower() in TIMES and (value or b"").isdigit()
            else [name if reveal else mask_text(name), clean(value, MASKS.get(name.lower(), mask_text))]
            for name, value in record.headers
        ],
    }
    if body is not None:
        found["body"] = body if reveal else mask_body(body, words)
    elif reveal and record.value is not None:
        found |= _opaque(record.value)
    return found


def _opaque(value: bytes) -> dict[str, str]:
    try:
        return {"text": value.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}
