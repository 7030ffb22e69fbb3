"""Decides which texts of a shop's metadata can be the id of a person: made comparable, without stand-ins for "none".

Code that has no user writes `undefined`, `null` or `0` into the same place as an id. Taken for one, it makes a single
person of everybody who has none.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final

from pipeline.customerio.limits import PERSON_ID_MAX_BYTES
from pipeline.transform.characters import REPLACEMENT, visible
from pipeline.transform.fields import text

PLACEHOLDERS: Final = frozenset(
    {
        "undefined", "null", "nan", "none", "nil", "n/a", "#n/a", "true", "false",
        "(null)", "<null>", "(none)", "<none>", "<nil>", "[object object]",
    }
)  # fmt: skip
"""How languages, browsers and spreadsheets write that there is nothing, in lower case."""

_TEMPLATE = re.compile(r"\{\{.*\}\}|\$\{.*\}|<%.*%>|\{[A-Za-z_.]+\}", re.DOTALL)
"""A template that nobody filled in."""


def person_id(value: Any) -> str | None:
    """The id that `value` is: NFC, without controls and format characters; None when it is none."""
    return _id(value) if type(value) is str else _id(text(value) or "")


@lru_cache(maxsize=4096)
def _id(value: str) -> str | None:
    if REPLACEMENT in value:
        return None
    found = visible(value)
    if not found or is_placeholder(found) or len(found.encode("utf-8", "replace")) > PERSON_ID_MAX_BYTES:
        return None
    return found


@lru_cache(maxsize=4096)
def is_placeholder(value: str) -> bool:
    """Whether the text stands for no value: a word for it, nothing but signs, nothing but zeros, an empty template."""
    word = visible(value).lower()
    signs = [character for character in word if character.isalnum()]
    # Without a letter or digit (`-`, `{}`), or with zeros alone: 0, and the nil UUID of RFC 9562.
    return word in PLACEHOLDERS or all(sign == "0" for sign in signs) or _TEMPLATE.fullmatch(word) is not None
