"""A first name cut from a full one, where nothing speaks against it.

"Hi Han" to Han Ji-woo is worse than "Hi there": where the family's name comes first, where only one name is given, or
where it may be a firm's, there is no first name.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

FAMILY_FIRST: Final = frozenset({"CN", "HK", "HU", "JP", "KH", "KP", "KR", "MO", "SG", "TW", "VN"})
"""Countries where names are commonly written with the family's first, also in Latin letters."""

TITLES: Final = frozenset(
    {"dr", "mr", "mrs", "ms", "miss", "mx", "prof", "sir", "herr", "frau", "mme", "sr", "sra", "the"}
)

FIRMS: Final = frozenset(
    {"ab", "ag", "bv", "co", "company", "corp", "gmbh", "inc", "kg", "limited", "llc", "llp", "ltd", "nv", "oy", "plc",
     "pty", "sa", "sarl", "sl", "spa", "srl", "team", "group", "studio", "studios", "shop", "store", "support",
     "billing", "accounts", "admin", "office", "and", "&"}
)  # fmt: skip
"""Words in the name of a firm or an office; no person has one."""

MIN_WORDS: Final = 2
MAX_WORDS: Final = 5

_NAME = re.compile(r"[^\W\d_](?:[^\W\d_]|['\u2019-](?=[^\W\d_]))+")
"""Letters, with hyphens and apostrophes between: at least two."""

_LATIN_CYRILLIC_GREEK = re.compile(r"[A-Za-z\u00c0-\u024f\u0370-\u03ff\u0400-\u052f\u1e00-\u1eff'\u2019 .-]+")
"""Scripts whose names are written with the given name first."""

_ROMANISED_GIVEN = re.compile(r"[A-Z][a-z]+-[a-z]+")
"""`Ji-woo`: a given name of two syllables, which stands behind the family's; a double name has two capitals."""


def first_name(name: str | None, country: str | None) -> str | None:
    """The first word of `name` where it is a given name; None where that is not plain.

    Args:
        name: as Dodo has it.
        country: the customer's, ISO 3166-1; None: not known, which speaks neither for nor against.
    """
    return None if name is None else _cut(name, country)


@lru_cache(maxsize=1024)
def _cut(name: str, country: str | None) -> str | None:
    words = name.split()
    if country in FAMILY_FIRST or not MIN_WORDS <= len(words) <= MAX_WORDS:
        return None
    if _LATIN_CYRILLIC_GREEK.fullmatch(name.strip()) is None:
        return None  # a comma, a digit, an at sign, another script
    bare = {word.strip(".").lower() for word in words}
    if bare & FIRMS or words[0].strip(".").lower() in TITLES:
        return None
    first = words[0]
    if not _NAME.fullmatch(first) or any(_ROMANISED_GIVEN.fullmatch(word) for word in words[1:]):
        return None
    if first.isupper() or first.islower():
        return first.title() if name.isupper() or name.islower() else None
    return first
