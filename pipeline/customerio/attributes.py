"""Fits attributes to Customer.io's limits: cuts, renames or leaves them out, and reports every change.

Customer.io refuses a whole operation for one over-long value, so the end of a long text is cut here rather than that
the payment's event is lost. What already fits is not changed; usually the JSON of all of them shows that at once. Names
and values are in one module: it is compiled as one, and each operation passes it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any, Final, Literal, NamedTuple

import orjson

from pipeline.customerio.limits import (
    ATTRIBUTE_NAME_MAX_BYTES,
    ATTRIBUTE_VALUE_MAX_BYTES,
    ATTRIBUTES_MAX,
    RESERVED_ATTRIBUTES,
    RESERVED_PREFIXES,
)

CutReason = Literal[
    "length",
    "url",
    "elements",
    "nested",
    "number",
    "text",
    "type",
    "depth",
    "name",
    "renamed",
    "collision",
    "reserved",
    "count",
]
"""What was done to an attribute.

`length`: a text lost its tail. `url`: a link too long was left out, since a cut link leads nowhere. `elements`: an
array lost its last elements. `nested`: an object or array that cannot fit was left out. `number`: NaN, an infinity or
an integer beyond 64 bits was left out, at the top or inside a value: JSON has no such numbers. `text`: characters that
UTF-8 cannot carry became question marks. `type`: something that is not JSON was left out. `depth`: nested deeper than
`DEPTH_MAX`, left out. `name`: the name is empty or over 150 bytes, left out. `renamed`: dots in a name became
underscores. `collision`: left out, its new name was taken. `reserved`: left out, the name steers Customer.io.
`count`: left out, there are 300 others.
"""

DEPTH_MAX: Final = 32
"""Guards the interpreter's stack; no message uses a value that is nested so deep."""

KNOWN_NAMES_MAX: Final = 4_096
"""Bounds the memory of names that were checked, since some come from outside (metadata keys)."""

INTEGER_MIN: Final = -(2**63)
INTEGER_MAX: Final = 2**64 - 1
"""The range of signed and unsigned 64-bit integers: statically typed languages can read it, and orjson writes it."""

LINK_SCHEMES: Final = frozenset({"data", "mailto", "tel", "urn"})
"""Links without `//`."""

PLAIN_ONLY: Final = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_SUBCLASS

SHORT_CHARS: Final = ATTRIBUTE_VALUE_MAX_BYTES // 4
"""A text of so many characters always fits: UTF-8 has at most four bytes for one."""

ROOM: Final = ATTRIBUTE_VALUE_MAX_BYTES // 6 - 1
"""So many characters always fit, in an array of objects with their quotes, commas, colons and braces counted as one
each: JSON has at most six bytes for one (`\\u0001`), and needs no more for two quotes, a colon and a comma."""

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*\Z")
_OMIT: Final = object()

_known_names: set[str] = set()
"""A cache of names that need no change; it affects the speed of a call, never its result."""


class Cut(NamedTuple):
    """One change: the attribute's name as it was given, and why."""

    name: str
    reason: CutReason


def fit_attributes(attributes: Mapping[Any, Any]) -> tuple[dict[str, Any], tuple[Cut, ...]]:
    """Return `attributes` inside Customer.io's limits, and each change that was made for it.

    `None` stays: it removes an attribute at Customer.io. Texts are measured in UTF-8 bytes, arrays and objects as
    compact JSON (the published rule does not say how it measures nested values). Attributes whose dots became
    underscores come last. The input is not modified.
    """
    fitted: dict[str, Any] = {}
    cuts: list[Cut] = []
    renamed: list[tuple[str, str]] = []
    known = _known_names
    for given, value in attributes.items():
        if given not in known:
            usable = _fit_name(given, cuts)
            if usable != given:
                if usable is not None:
                    renamed.append((given, usable))
                continue
        fit = _fit_value(given, value, cuts)
        if fit is not _OMIT:
            fitted[given] = fit
    for name, usable in renamed:
        if usable in attributes or usable in fitted:
            cuts.append(Cut(name, "collision"))
            continue
        fit = _fit_value(name, attributes[name], cuts)
        if fit is not _OMIT:
            fitted[usable] = fit
            cuts.append(Cut(name, "renamed"))
    if len(fitted) > ATTRIBUTES_MAX:
        for name in list(fitted)[ATTRIBUTES_MAX:]:
            del fitted[name]
            cuts.append(Cut(name, "count"))
    return fitted, tuple(cuts)


def fit_json(attributes: dict[str, Any]) -> tuple[bytes, tuple[Cut, ...]]:
    """`fit_attributes` as the JSON that an operation will hold.

    Usually nothing is to be changed; the JSON shows that for a third of the cost of a look at each value.
    """
    text = _json_as_it_is(attributes)
    if text is not None:
        return text, ()
    fitted, cuts = fit_attributes(attributes)
    return orjson.dumps(fitted), cuts


def _json_as_it_is(attributes: dict[str, Any]) -> bytes | None:
    """The JSON of attributes that surely need no change, else None.

    orjson raises for integers beyond 64 bits and for surrogates.
    """
    if len(attributes) > ATTRIBUTES_MAX or not _known_names.issuperset(attributes):
        return None
    for value in attributes.values():
        kind = type(value)
        if kind is str or kind is int or kind is bool or value is None:
            continue
        if kind is float:
            if not isfinite(value):
                return None
        elif not ((kind is list and _is_flat(value)) or ((kind is list or kind is dict) and _is_plain(value))):
            return None
    try:
        text = orjson.dumps(attributes)
    except TypeError:
        return None
    if len(text) > ATTRIBUTE_VALUE_MAX_BYTES:  # else each value has less
        for value in attributes.values():
            if type(value) is str and len(value) > SHORT_CHARS:
                return None
    return text


def _fit_name(name: Any, cuts: list[Cut]) -> str | None:
    """The name to use: the same, one without dots, or None when the attribute must go."""
    if not isinstance(name, str):
        cuts.append(Cut(str(name), "type"))
        return None
    if _is_reserved(name):
        cuts.append(Cut(name, "reserved"))
        return None
    encoded = name.encode("utf-8", "replace")
    if not name or len(encoded) > ATTRIBUTE_NAME_MAX_BYTES:
        cuts.append(Cut(name, "name"))
        return None
    # A dot is path notation in attribute names: `a.b` would update the member `b` of an attribute `a`.
    usable = encoded.decode().replace(".", "_")
    if _is_reserved(usable):
        cuts.append(Cut(name, "reserved"))
        return None
    if usable == name and len(_known_names) < KNOWN_NAMES_MAX:
        _known_names.add(name)
    return usable


def _is_reserved(name: str) -> bool:
    """Whether the name is reserved, in any case and with any space around it: how names are compared is unpublished."""
    word = name.strip().lower()
    return word in RESERVED_ATTRIBUTES or word.startswith(RESERVED_PREFIXES)


def _fit_value(name: str, value: Any, cuts: list[Cut]) -> Any:
    found: list[CutReason] = []
    match value:
        case str():
            fit = _fit_text(value, found)
        case Mapping() | list() | tuple():
            fit = _fit_nested(value, found)
        case _:
            fit = _clean(value, found, 0)
    cuts.extend(Cut(name, reason) for reason in dict.fromkeys(found))
    return fit


def _fit_text(value: str, found: list[CutReason]) -> Any:
    encoded = value.encode("utf-8", "replace")
    text = _encodable(value, found)
    if len(encoded) <= ATTRIBUTE_VALUE_MAX_BYTES:
        return text
    if _is_link(text):
        found.append("url")
        return _OMIT
    found.append("length")
    # The bytes are valid UTF-8, so `ignore` can only drop one character that the limit cut in two.
    kept = encoded[:ATTRIBUTE_VALUE_MAX_BYTES].decode("utf-8", "ignore")
    words = kept.rsplit(None, 1)
    if len(words) == 2 and "://" in words[1] and not text[len(kept)].isspace():  # noqa: PLR2004 - text and last word
        return words[0]
    return kept


def _is_link(text: str) -> bool:
    if len(text.split(None, 1)) != 1:
        return False
    scheme, colon, rest = text.strip().partition(":")
    if not colon:
        return text.lstrip().lower().startswith("www.")
    return bool(_SCHEME.match(scheme)) and (rest.startswith("//") or scheme.lower() in LINK_SCHEMES)


def _fit_nested(value: Mapping[Any, Any] | Sequence[Any], found: list[CutReason]) -> Any:
    if _is_plain(value):
        return value
    clean = _clean(value, found, 0)
    if clean is _OMIT or len(orjson.dumps(clean)) <= ATTRIBUTE_VALUE_MAX_BYTES:
        return clean
    kept = _first_elements(clean) if isinstance(clean, list) else []
    if not kept:
        found.append("nested")
        return _OMIT
    found.append("elements")
    return kept


def _is_plain(value: Any) -> bool:
    """Whether `value` surely needs no change, judged by its JSON: a fifth of the cost of walking it.

    orjson writes NaN as null and raises for what it cannot write; only depth and keys with dots remain to be checked.
    """
    try:
        text = orjson.dumps(value, option=PLAIN_ONLY)
    except TypeError:
        return False
    return (
        len(text) <= ATTRIBUTE_VALUE_MAX_BYTES
        and text.find(b"null") < 0  # `in` first tries bytes as a number, and that exception costs ten look-ups
        and text.find(b".") < 0
        and text.count(b"[") + text.count(b"{") <= DEPTH_MAX
    )


def _is_flat(elements: list[Any]) -> bool:
    """Whether these are texts, or objects of texts, numbers and truth values, and so few that they fit: most products.

    What has no JSON (an integer beyond 64 bits, a surrogate) is left to whoever writes all attributes.
    """
    room = ROOM
    for element in elements:
        room -= 1
        if type(element) is str:
            room -= len(element)
        elif type(element) is not dict:
            return False
        else:
            for name, value in element.items():
                if type(name) is not str or name.find(".") >= 0:
                    return False
                room -= len(name) + 1
                kind = type(value)
                if kind is str:
                    room -= len(value) + 1
                elif kind is int:
                    room -= 4
                elif kind is bool:
                    room -= 1
                else:
                    return False
        if room < 0:
            return False
    return True


def _first_elements(elements: list[Any]) -> list[Any]:
    """As many first elements as fit together."""
    size = len(b"[]")
    for index, element in enumerate(elements):
        size += len(orjson.dumps(element)) + (index > 0)
        if size > ATTRIBUTE_VALUE_MAX_BYTES:
            return elements[:index]
    return elements


def _clean(value: Any, found: list[CutReason], depth: int) -> Any:
    """`value` as something that JSON can carry, or `_OMIT`."""
    match value:
        case None | bool():
            return value
        case str():
            return _encodable(value, found)
        case int():
            if INTEGER_MIN <= value <= INTEGER_MAX:
                return value
            found.append("number")
        case float():
            if isfinite(value):
                return value
            found.append("number")
        case Mapping() | list() | tuple() if depth >= DEPTH_MAX:
            found.append("depth")
        case Mapping():
            return _clean_members(value, found, depth)
        case list() | tuple():
            cleaned = (_clean(element, found, depth + 1) for element in value)
            return [element for element in cleaned if element is not _OMIT]
        case _:
            found.append("type")
    return _OMIT


def _clean_members(members: Mapping[Any, Any], found: list[CutReason], depth: int) -> dict[str, Any]:
    cleaned: dict[str, Any] = {}
    for key, member in members.items():
        if not isinstance(key, str):
            found.append("type")
            continue
        name = _encodable(key, found)
        if "." in name:
            name = name.replace(".", "_")
            if name in members or name in cleaned:
                found.append("collision")
                continue
            found.append("renamed")
        fit = _clean(member, found, depth + 1)
        if fit is not _OMIT:
            cleaned[name] = fit
    return cleaned


def _encodable(text: str, found: list[CutReason]) -> str:
    """`text` without lone surrogates: JSON escapes can hold them, UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        found.append("text")
        return text.encode("utf-8", "replace").decode()
    return text
