"""Invented webhook bodies of the true shape: one of each of the 48 types, and variants.

`<type>.json` is a type's main sample: every field of the typed model of the `dodopayments` SDK 1.123.0.
`<type>--<variant>.json` is a captured delivery or vendor example with its own field set (ids and people replaced), or
one trap: other currencies, nulls, absent keys, numbers for text. `unknown.future_event.json` holds a type that does
not exist. Files are indented for people; `load` gives the compact form that the wire carries.
"""

from __future__ import annotations

import difflib
from functools import cache
from importlib import resources

import orjson

from pipeline.errors import InputError

SUFFIX = ".json"


@cache
def names() -> tuple[str, ...]:
    """Every sample's name, sorted: a type, or `<type>--<variant>`."""
    return tuple(
        sorted(
            file.name.removesuffix(SUFFIX) for file in resources.files(__name__).iterdir() if file.name.endswith(SUFFIX)
        )
    )


@cache
def load(name: str) -> bytes:
    """The compact JSON body of sample `name`, keys in the file's order.

    Raises:
        InputError: there is no such sample; the message names the closest.
    """
    if name not in names():
        close = difflib.get_close_matches(name, names(), n=3) or ["payment.succeeded"]
        raise InputError(f"there is no sample {name!r}; did you mean {', '.join(close)}?")
    return orjson.dumps(orjson.loads((resources.files(__name__) / f"{name}{SUFFIX}").read_bytes()))
