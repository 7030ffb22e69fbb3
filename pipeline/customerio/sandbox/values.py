"""Checks attributes, timestamps, event names and ids by the published limits."""

from __future__ import annotations

import re
from typing import Any, Final

import orjson

from pipeline.customerio.limits import (
    ATTRIBUTE_NAME_MAX_BYTES,
    ATTRIBUTE_VALUE_MAX_BYTES,
    ATTRIBUTES_MAX,
    EVENT_NAME_MAX_BYTES,
)
from pipeline.customerio.sandbox.rejections import Rejection, invalid, required

ULID: Final = re.compile(r"[0-7][0-9A-HJKMNP-TV-Za-hjkmnp-tv-z]{25}", re.ASCII)
"""https://github.com/ulid/spec; decoding ignores case."""

SHORT_NAME: Final = ATTRIBUTE_NAME_MAX_BYTES // 4
SHORT_VALUE: Final = ATTRIBUTE_VALUE_MAX_BYTES // 4
"""So few characters always fit: UTF-8 has at most four bytes for one."""


def check_attributes(value: Any, field: str, rejections: list[Rejection], *, count: bool, values: bool = True) -> None:
    """Check an object of attributes.

    Args:
        value: the one that was sent.
        field: the path of the field, for rejections.
        rejections: the list to add to.
        count: whether the number of attributes is limited.
        values: whether the size of each is limited.
    """
    if type(value) is not dict:
        rejections.append(invalid(field, "must be an object"))
        return
    if count and len(value) > ATTRIBUTES_MAX:
        rejections.append(invalid(field, f"cannot have more than {ATTRIBUTES_MAX} attributes"))
    for name, attribute in value.items():
        if len(name) > SHORT_NAME and len(name.encode()) > ATTRIBUTE_NAME_MAX_BYTES:
            rejections.append(
                invalid(f"{field}.{name}", f"property name cannot be longer than {ATTRIBUTE_NAME_MAX_BYTES} bytes")
            )
        if not values:
            continue
        kind = type(attribute)
        if kind is str:
            fits = len(attribute) <= SHORT_VALUE or len(attribute.encode()) <= ATTRIBUTE_VALUE_MAX_BYTES
        elif kind is list or kind is dict:
            fits = len(orjson.dumps(attribute)) <= ATTRIBUTE_VALUE_MAX_BYTES
        else:
            continue
        if not fits:
            rejections.append(
                invalid(f"{field}.{name}", f"property value cannot be longer than {ATTRIBUTE_VALUE_MAX_BYTES} bytes")
            )


def check_event_name(operation: dict[str, Any], rejections: list[Rejection]) -> None:
    """Check `name`: present, not blank, at most 100 bytes after trimming."""
    name = operation.get("name")
    if type(name) is not str:
        rejections.append(required("name") if "name" not in operation else invalid("name", "must be a string"))
        return
    trimmed = name.strip()
    if not trimmed:
        rejections.append(invalid("name", "must not be blank"))
    elif len(trimmed) * 4 > EVENT_NAME_MAX_BYTES and len(trimmed.encode()) > EVENT_NAME_MAX_BYTES:
        rejections.append(invalid("name", f"event name cannot be longer than {EVENT_NAME_MAX_BYTES} bytes"))


def check_event_id(operation: dict[str, Any], rejections: list[Rejection], *, lenient: bool) -> None:
    """Check `id`, if present: a ULID."""
    if "id" not in operation:
        return
    event_id = operation["id"]
    if type(event_id) is not str:
        rejections.append(invalid("id", "must be a string"))
    elif not lenient and not ULID.fullmatch(event_id):
        rejections.append(invalid("id", "must be a ULID"))


def check_timestamp(operation: dict[str, Any], rejections: list[Rejection], *, lenient: bool) -> None:
    """Check `timestamp`, if present: an integer. The lenient mode takes anything, as the real API seems to do."""
    if lenient or "timestamp" not in operation:
        return
    timestamp = operation["timestamp"]
    # JSON Schema counts 1719324000.0 as an integer, and true not.
    if type(timestamp) is not int and not (type(timestamp) is float and timestamp.is_integer()):
        rejections.append(invalid("timestamp", "must be an integer of unix seconds"))


def check_strings(value: Any, names: tuple[str, ...], field: str, rejections: list[Rejection]) -> None:
    """Check attributes that must be strings."""
    if type(value) is not dict:
        return
    rejections.extend(
        invalid(f"{field}.{name}", "must be a string")
        for name in names
        if name in value and type(value[name]) is not str
    )
