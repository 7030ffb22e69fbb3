"""Interprets an answer of the Track API: a pure function from the answer to a decision.

The documented answers are 200, 207, 400 and 401; everything else is defence. Two rules hold for all of them: only an
explicit acceptance counts as one, and no operation is refused unless Customer.io named it. What an answer says in words
may quote what was sent: reasons come out cleaned (`reasons`), and a refusal's words are kept to be compared alone.

An explicit acceptance is what Customer.io's OpenAPI document of the Track API has (August 2026). 200: "A successful
request returns an empty object response", recorded from the live API as `{}` and a newline. 207: "At least one object
in the batch was invalid; all other requests are accepted", and its list names those. So a 2xx is an acceptance if its
body is a JSON object without errors; other members may be added some day. One without a body (204 included), with
`null`, an array, a text, half of an object or a sign-in page is most likely from a proxy, which did not pass the
operations on: the same bytes are sent again, as after no answer at all.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import orjson

from pipeline.customerio.outcomes import (
    Accepted,
    Outcome,
    PartlyRefused,
    Refusal,
    RetryLater,
    Split,
    Unauthorized,
    WrongRegion,
)
from pipeline.reasons import clean_reason
from pipeline.retry import retry_after_s

RAW_MAX_CHARACTERS: Final = 1_000
"""How much of an answer that cannot be matched goes into dead letters."""

LOCATION_MAX_CHARACTERS: Final = 1_000
"""How much of a redirect's path is told."""

TOO_DEEP: Final = "(nested too deeply to be shown)"
"""In place of a reason, field or message that is no text, and that no encoder takes."""

_NOT_JSON: Final = object()

_PHRASES: Final = {413: "Content Too Large", 422: "Unprocessable Content"}
"""RFC 9110's words; the standard library's depend on the Python version."""

_HINTS: Final = {
    404: "is PIPELINE_CUSTOMERIO_URL the Track API's address?",
    405: "is PIPELINE_CUSTOMERIO_URL the Track API's address?",
    407: "a proxy wants credentials",
}


def interpret(
    status: int, headers: Mapping[str, str], body: bytes, sent: int, *, now_s: float | None = None
) -> Outcome:
    """What the answer to a batch of `sent` operations means.

    Args:
        status: the HTTP status.
        headers: the answer's headers; names in any case.
        body: the answer's body, as received.
        sent: operations in the batch.
        now_s: unix seconds, for a Retry-After that is a time in an answer without a Date.
    """
    match status:
        case 207:
            return _multi_status(status, headers, body, sent, now_s)
        case _ if 200 <= status < 300:  # noqa: PLR2004 - RFC 9110: success
            return _success(status, headers, body, sent, now_s)
        case 400 | 413:
            return _whole_refused(status, body)
        case 401 | 403:
            return Unauthorized(status, _describe(status, _parse(body)))
        case 301 | 302 | 307 | 308:
            return WrongRegion(status, _location(_header(headers, "location")))
    return _retry(status, headers, _describe(status, _parse(body)), now_s)


def _success(status: int, headers: Mapping[str, str], body: bytes, sent: int, now_s: float | None) -> Outcome:
    answer = _parse(body)
    if not isinstance(answer, dict):  # if it was Customer.io's after all, it ignores repeated events by their id
        what = "a body" if not body.strip() else "a JSON object"
        return _retry(status, headers, f"{_title(status)} without {what}: not Customer.io's answer?", now_s)
    if _lists_errors(answer):
        return _match(status, answer, body, sent)
    return Accepted()


def _multi_status(status: int, headers: Mapping[str, str], body: bytes, sent: int, now_s: float | None) -> Outcome:
    answer = _parse(body)
    if answer is _NOT_JSON:
        return _retry(status, headers, f"{_title(status)} with an unreadable list of errors", now_s)
    if isinstance(answer, dict) and answer.get("errors") == [] and not _lists_errors(answer):
        return Accepted()
    return _match(status, answer, body, sent)


def _match(status: int, answer: Any, body: bytes, sent: int) -> PartlyRefused:
    """Match errors to operations; if one names no operation of this batch, the raw answer is kept as well."""
    errors = answer.get("errors") if isinstance(answer, dict) else None
    entries: dict[int, list[dict[str, Any]]] = {}
    unmatched = not isinstance(errors, list) or not errors
    for error in errors if isinstance(errors, list) else ():
        index = error.get("batch_index") if isinstance(error, dict) else None
        if isinstance(index, int) and not isinstance(index, bool) and 0 <= index < sent:
            entries.setdefault(index, []).append(error)
        else:
            unmatched = True
    refused = {index: _refusal(status, errors) for index, errors in sorted(entries.items())}
    return PartlyRefused(refused, _raw(body) if unmatched else None)


def _whole_refused(status: int, body: bytes) -> Split:
    answer = _parse(body)
    errors = _errors(answer)
    if errors:
        return Split(_refusal(status, errors), from_api=True)
    return Split(Refusal(None, None, _describe(status, answer), status), from_api=False)


def _retry(status: int, headers: Mapping[str, str], reason: str, now_s: float | None) -> RetryLater:
    after_s = retry_after_s(_header(headers, "retry-after"), date=_header(headers, "date"), now_s=now_s)
    hint = _HINTS.get(status)
    return RetryLater(after_s, status, f"{reason} ({hint})" if hint else reason)


def _errors(answer: Any) -> list[dict[str, Any]]:
    """The errors of an answer, in v2's form or v1's (`{"meta": {"error": text}}`, `{"meta": {"errors": [text]}}`).

    A text in place of an object is its message, in either form.
    """
    if not isinstance(answer, dict):
        return []
    lists = [answer.get("errors")]
    if isinstance(meta := answer.get("meta"), dict):
        lists += [meta.get("errors"), [meta.get("error")]]
    found = []
    for error in (one for errors in lists if isinstance(errors, list) for one in errors):
        if isinstance(error, dict):
            found.append(error)
        elif isinstance(error, str) and error:
            found.append({"message": error})
    return found


def _lists_errors(answer: dict[str, Any]) -> bool:
    """Whether anything at all lies where an answer has its errors."""
    meta = answer.get("meta")
    return bool(answer.get("errors") or (isinstance(meta, dict) and (meta.get("errors") or meta.get("error"))))


def _refusal(status: int, errors: list[dict[str, Any]]) -> Refusal:
    return Refusal(
        reason=_joined(errors, "reason"),
        field=_joined(errors, "field"),
        message=_joined_texts(_message(error) for error in errors),
        status=status,
    )


def _message(error: dict[str, Any]) -> str:
    """What the error says: its message, else its detail (the App API's word), else all of an unknown form."""
    said = _text(error.get("message")) or _text(error.get("detail"))
    if said or error.get("reason") or error.get("field"):
        return said
    rest = {name: value for name, value in error.items() if value and name != "batch_index"}
    return _text(rest or None)[:RAW_MAX_CHARACTERS]


def _joined(errors: list[dict[str, Any]], key: str) -> str | None:
    return _joined_texts(_text(error.get(key)) for error in errors)


def _joined_texts(texts: Iterable[str]) -> str | None:
    return "; ".join(dict.fromkeys(text for text in texts if text)) or None


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value)
    except RecursionError:  # what the parser has taken may be some levels too deep for it
        return TOO_DEEP


def _describe(status: int, answer: Any) -> str:
    errors = _errors(answer)
    return f"{_title(status)}: {_refusal(status, errors).text}" if errors else _title(status)


def _title(status: int) -> str:
    try:
        return f"{status} {_PHRASES.get(status) or HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _parse(body: bytes) -> Any:
    """The JSON of `body`; bytes that are not UTF-8 (a message that was cut inside a character) do not fail the rest.

    A byte order mark, which a proxy that re-encodes may add, is ignored (RFC 8259 §8.1 allows it).
    """
    body = body.removeprefix(codecs.BOM_UTF8)
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(body.decode("utf-8", "replace"), strict=False)
    except (ValueError, RecursionError):
        return _NOT_JSON


def _raw(body: bytes) -> str:
    text = body[: 4 * RAW_MAX_CHARACTERS].decode("utf-8", "replace").strip()
    return text[:RAW_MAX_CHARACTERS] or "an empty answer"


def _header(headers: Mapping[str, str], name: str) -> str | None:
    for key, value in headers.items():
        if key.lower() == name:
            return value
    return None


def _location(value: str | None) -> str | None:
    """Where the redirect points, without credentials, a query or a person."""
    if value is None:
        return None
    try:
        parts = urlsplit(value)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return None
    steps = (clean_reason(unquote(step)) for step in parts.path.split("/"))
    path = "/".join(steps)[:LOCATION_MAX_CHARACTERS]
    return f"{parts.scheme}://{parts.hostname}{port}{path}" if parts.hostname else path
