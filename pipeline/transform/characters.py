"""Characters that nobody sees: they come with copied text and make two of what looks like one.

Invisible are controls and format characters (categories Cc and Cf), what Unicode calls default ignorable beside them,
and, at an end, every kind of space.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Final

REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"
"""Stands where bytes were lost: what it was is not known any more, and two texts with it are not one."""

_SPACES: Final = frozenset({"Zs", "Zl", "Zp"})

_IGNORABLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2065\u3164\ufe00-\ufe0f\uffa0\ufff0-\ufff8\U000e0000-\U000e0fff]"
)
"""Default_Ignorable_Code_Point without Cf (Unicode's DerivedCoreProperties.txt): fillers and variation selectors."""


def is_plain(text: str) -> bool:
    """Whether a text is of ASCII's own letters, signs and spaces: nothing to look for in it."""
    return text.isascii() and text.isprintable()


def is_invisible(character: str) -> bool:
    """Whether a character shows nothing and is no space."""
    return unicodedata.category(character) in {"Cc", "Cf"} or _IGNORABLE.fullmatch(character) is not None


def trimmed(text: str) -> str:
    """`text` without spaces and invisible characters at its ends."""
    if is_plain(text):
        return text.strip(" ")
    first, last = 0, len(text)
    while first < last and _is_blank(text[first]):
        first += 1
    while last > first and _is_blank(text[last - 1]):
        last -= 1
    return text[first:last]


def has_invisible(text: str) -> bool:
    """Whether some character shows nothing."""
    return not is_plain(text) and any(map(is_invisible, text))


@lru_cache(maxsize=1024)
def visible(text: str) -> str:
    """`text` in Unicode's form NFC, without invisible characters, trimmed."""
    if is_plain(text):
        return text.strip(" ")
    kept = "".join(character for character in text if not is_invisible(character))
    return trimmed(unicodedata.normalize("NFC", kept))


def _is_blank(character: str) -> bool:
    return character.isspace() or unicodedata.category(character) in _SPACES or is_invisible(character)
