"""A dead letter as a JSON document, for `--json` and for screens; personal data is masked unless `reveal`."""

from __future__ import annotations

import base64
from typing import Any, Final

from pipeline.deadletters.letter import Letter, json_object
from pipeline.deadletters.masking import mask_body, mask_text, private_words
from pipeline.deadletters.receipts import PutBack
from pipeline.deadletters.times import written
from pipeline.kafka.records import DLQ_AT, EVENT_TIME, RECEIVED_AT, WEBHOOK_TIMESTAMP, Record

TIMES: Final = frozenset({DLQ_AT, RECEIVED_AT, EVENT_TIME, WEBHOOK_TIMESTAMP})
"""Headers whose long numbers are times, not personal data."""


def summary(record: Record, letter: Letter, put_back: PutBack, *, reveal: bool) -> dict[str, Any]:
    """The summary of a letter: an object of `dlq list --json`. Times are ISO 8601 in UTC; what is unknown is null."""
    words = () if reveal else private_words(json_object(record.value))

    def clean(text: str | None) -> str | None:
        return text if reveal or text is None else mask_text(text, words)

    return {
        "letter": str(letter.place),
        "partition": letter.place.partition,
        "offset": letter.place.offset,
        "at": written(letter.at_ms),
        "stage": letter.stage,
        "class": letter.class_,
        "type": letter.type,
        "customer": letter.customer_id if reveal or letter.customer_id is None else mask_text(letter.customer_id),
        "email": letter.email if reveal or letter.email is None else "[email]",
        "name": letter.name if reveal or letter.name is None else "[name]",
        "reason": clean(letter.reason),
        "field": clean(letter.field),
        "status": letter.status,
        "source": letter.source,
        "attempts": letter.attempts,
        "replays": letter.replays,
        "put_back": put_back.times,
        "put_back_at": written(put_back.last_ms) if put_back.times else None,
        "webhook_id": letter.webhook_id,
        "op_id": letter.op_id,
        "bytes": len(record.value or b""),
    }


def details(record: Record, letter: Letter, put_back: PutBack, *, reveal: bool) -> dict[str, Any]:
    """The same with key, headers and body.

    `body` is the JSON object. If the value is not one, it is text under `text`, or `base64` if it is not UTF-8 either;
    such a value is shown only with `reveal`, since personal data cannot be found in it.
    """
    body = json_object(record.value)
    words = () if reveal else private_words(body)

    def clean(raw: bytes | None) -> str | None:
        if raw is None:
            return None
        text = raw.decode("utf-8", "backslashreplace")
        return text if reveal else mask_text(text, words)

    found = summary(record, letter, put_back, reveal=reveal) | {
        "key": clean(record.key),
        "headers": [
            [name, value.decode()]
            if name.lower() in TIMES and (value or b"").isdigit()
            else [name if reveal else mask_text(name), clean(value)]
            for name, value in record.headers
        ],
    }
    if body is not None:
        found["body"] = body if reveal else mask_body(body)
    elif reveal and record.value is not None:
        found |= _opaque(record.value)
    return found


def _opaque(value: bytes) -> dict[str, str]:
    try:
        return {"text": value.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}
