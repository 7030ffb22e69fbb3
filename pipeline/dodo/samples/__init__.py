"""Invented webhook bodies of the true shape: one of each of the 48 types, and variants.

`<type>.json` is a type's main sample: every field of the typed model of the `dodopayments` SDK 1.123.0.
`<type>--<variant>.json` is a captured delivery or vendor example with its own field set (ids and people replaced), or
one trap: other currencies, nulls, absent keys, numbers for text. `unknown.future_event.json` holds a type that does
not exist. Files are indented for people; `load` returns the compact form in which webhooks are sent.
"""

from __future__ import annotations

import difflib
import re
from functools import cache
from importlib import resources

import orjson

from pipeline.errors import InputError

SUFFIX = ".json"

_SPLIT = re.compile(r"[^a-z0-9]+")


@cache
def names() -> tuple[str, ...]:
    """Every sample's name, sorted: a type, or `<type>--<variant>`."""
    return tuple(
        sorted(
            file.name.removesuffix(SUFFIX) for file in resources.files(__name__).iterdir() if file.name.endswith(SUFFIX)
        )
    )


@cache
def find(words: str) -> tuple[str, ...]:
    """The samples that match `words`, types before variants: the one of that name, else all whose name has each word.

    If there is none, the names that are spelt most alike.
    """
    wanted = words.strip().lower()
    if wanted in names():
        return (wanted,)
    parts = [part for part in _SPLIT.split(wanted) if part]
    alike = [name for name in names() if parts and all(part in name for part in parts)]
    if not alike:
        near = difflib.get_close_matches(wanted, names(), n=3, cutoff=0.5)
        # A word that is nearly one of a name's: `licence`, `subscribtion`.
        spelt = {word for name in names() for word in _SPLIT.split(name)}
        parts = [(difflib.get_close_matches(part, spelt, n=1, cutoff=0.7) or [part])[0] for part in parts]
        alike = [name for name in names() if parts and all(part in name for part in parts)] or near
    return tuple(sorted(alike, key=lambda name: ("--" in name, name)))


@cache
def load(name: str) -> bytes:
    """The compact JSON body of sample `name`, keys in the file's order.

    Raises:
        InputError: there is no such sample; the message names those that may be meant.
    """
    if name not in names():
        alike = find(name)
        hint = f"did you mean {', '.join(alike[:6])}?" if alike else "dodo-cio explain --sample lists them"
        raise InputError(f"there is no sample {name!r}; {hint}")
    return orjson.dumps(orjson.loads((resources.files(__name__) / f"{name}{SUFFIX}").read_bytes()))
