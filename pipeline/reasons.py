"""Cleans reasons, of dead letters and from other systems, so that they may be listed, logged and put into a ticket.

A reason often repeats what another system answered, and such answers quote what they were sent. The value itself is in
the dead letter; the reason needs only what is wrong with it.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final

import orjson

from pipeline.logs import EMAIL, SECRET_SHAPES

MAX_REASON_BYTES: Final = 1000
"""Bound of one reason: a whole HTML error page in a header would push the record over the topic's size limit."""

MAX_TEXT: Final = 5_000
"""Characters of one string that are cleaned; what follows would hardly be within `MAX_REASON_BYTES`."""

MAX_JSON: Final = 100_000
"""Characters up to which an answer is read as JSON."""

MAX_DEPTH: Final = 16
"""Nesting walked in a JSON answer; deeper parts are dropped, so that no answer can exhaust the stack."""

URL: Final = re.compile(r"\bhttps?://\S+", re.IGNORECASE)
"""Presigned and OAuth addresses are credentials."""

LONG_NUMBER: Final = re.compile(r"\+\d(?:[ ().-]{0,2}\d){6,}|\d(?:[ -]?\d){11,}")
"""Telephone numbers in international form, card numbers; byte counts and offsets are shorter."""

QUOTED: Final = re.compile(
    r"""(?<!\w)(?P<quote>["'])(?P<text>(?:\\.|(?!(?P=quote))[^\\]|(?P=quote)(?=\w))*+)(?:(?P=quote)|\Z)""", re.DOTALL
)
"""Quoted text, up to the same quote at the end of a word, or to the end of a text that was cut; not apostrophes."""

IDENTIFIER: Final = re.compile(r"[a-z_][a-z0-9_.\-\[\]]{0,63}")
"""Quoted text of this form is a field or a code; anything else in quotes may be a personal value."""

REMEMBERED: Final = 128
"""Cleaned reasons that are cached. An answer that refuses thousands of operations has a few reasons for all of them,
and cleaning one costs as much as the rest of its letter."""

CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


@lru_cache(maxsize=REMEMBERED)
def clean_reason(text: str) -> str:
    """`text` in one line of at most `MAX_REASON_BYTES`, free of addresses, secrets, URLs, long numbers, quotations.

    A JSON answer is cleaned string by string, so that its structure stays readable.
    """
    return _cut(_clean_json(text) or _clean_text(text))


def _clean_json(text: str) -> str | None:
    """The answer re-serialised with every string cleaned; None when it is not a (short) JSON object or array."""
    if len(text) > MAX_JSON or not text.lstrip().startswith(("{", "[")):
        return None
    try:
        return orjson.dumps(_clean_tree(orjson.loads(text), 0)).decode()
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        return None


def _clean_tree(node: Any, depth: int) -> Any:
    match node:
        case str():
            return _clean_text(node)
        case dict() | list() if depth >= MAX_DEPTH:
            return "…"
        case dict():
            return {_clean_text(key): _clean_tree(value, depth + 1) for key, value in node.items()}
        case list():
            return [_clean_tree(item, depth + 1) for item in node]
        case _:  # a number of a card's or a telephone's length is no count
            return "[number]" if LONG_NUMBER.search(str(node)) else node


def _clean_text(text: str) -> str:
    text = CONTROL.sub(" ", text[:MAX_TEXT]).strip()
    text = EMAIL.sub("[email]", text)
    text = SECRET_SHAPES.sub("[secret]", text)
    text = URL.sub("[url]", text)
    text = LONG_NUMBER.sub("[number]", text)
    return QUOTED.sub(_clean_quoted, text)


def _clean_quoted(match: re.Match[str]) -> str:
    return match[0] if IDENTIFIER.fullmatch(match["text"]) or match["text"] in MASKS else "[value]"


MASKS: Final = frozenset({"[email]", "[secret]", "[url]", "[number]", "[value]"})


def _cut(text: str) -> str:
    """At most `MAX_REASON_BYTES` of UTF-8, cut between characters; a cut is shown."""
    raw = text.encode("utf-8", "replace")
    if len(raw) <= MAX_REASON_BYTES:
        return raw.decode()
    mark = "…"
    return raw[: MAX_REASON_BYTES - len(mark.encode())].decode("utf-8", "ignore") + mark
