"""Interprets answers of Dodo's API: pure functions of status and body.

Error answers are `{"code": "INVALID_REQUEST", "message": "…"}`. The code is shown, the message is not: it may quote
the request.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, NoReturn

import orjson

from pipeline.errors import CredentialError, RefusedRequestError, UnexpectedAnswerError

OK: Final = 200
UNAUTHORIZED: Final = 401
FORBIDDEN: Final = 403
NOT_FOUND: Final = 404
TOO_MANY: Final = 429
UNUSABLE: Final = frozenset({400, 422})

RETRIED: Final = frozenset({408, 409, 425, TOO_MANY})
"""Statuses that are retried, beside 5xx. The vendor's SDKs retry 408, 409 and 429 too."""

_CODE = re.compile(r"[A-Z][A-Z0-9_]{1,63}")


def is_retried(status: int) -> bool:
    """Whether the same request may succeed later."""
    return status in RETRIED or status >= 500  # noqa: PLR2004 - RFC 9110: the server's own failures


def object_of(body: bytes, path: str) -> dict[str, Any]:
    """The JSON object of a good answer.

    Raises:
        UnexpectedAnswerError: it is not a JSON object.
    """
    try:
        decoded = orjson.loads(body)
    except orjson.JSONDecodeError:
        decoded = None
    if not isinstance(decoded, dict):
        raise UnexpectedAnswerError(
            f"Dodo's API answered {path} with something that is no JSON object: is PIPELINE_DODO_API_URL its address?"
        )
    return decoded


def items_of(body: bytes, path: str) -> list[dict[str, Any]]:
    """The objects of a page.

    Raises:
        UnexpectedAnswerError: it is not a page.
    """
    return listed(object_of(body, path), "items", path)


def listed(page: Mapping[str, Any], name: str, path: str) -> list[dict[str, Any]]:
    """The objects that a page has under `name`.

    Raises:
        UnexpectedAnswerError: it has none there.
    """
    items = page.get(name)
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise UnexpectedAnswerError(f"Dodo's API answered {path} with no list of objects called {name}")
    return items


def refuse(status: int, body: bytes, path: str, base_url: str) -> NoReturn:
    """Raise the error for an answer that a retry would not change.

    Raises:
        CredentialError: the key is wrong, of the other mode, or may not read this.
        RefusedRequestError: the API refuses a parameter.
        UnexpectedAnswerError: for any other answer.
    """
    said = f"HTTP {status}{_code(body)}"
    if status == UNAUTHORIZED:
        raise CredentialError(
            f"Dodo refused PIPELINE_DODO_API_KEY at {base_url} ({said}): a live-mode or test-mode key works at its "
            "own host only (live.dodopayments.com, test.dodopayments.com). Keys are made under Developer, API Keys"
        )
    if status == FORBIDDEN:
        raise CredentialError(f"PIPELINE_DODO_API_KEY may not read {path} at {base_url} ({said})")
    if status in UNUSABLE:
        raise RefusedRequestError(f"Dodo's API does not take what was asked of {path} ({said})")
    raise UnexpectedAnswerError(f"Dodo's API at {base_url} answered {path} with {said}")


def _code(body: bytes) -> str:
    try:
        code = orjson.loads(body).get("code")
    except (orjson.JSONDecodeError, AttributeError):
        return ""
    return f" {code}" if isinstance(code, str) and _CODE.fullmatch(code) else ""
