"""Checks whom or what an operation is about: exactly one identifier, of the right type and length."""

from __future__ import annotations

from typing import Any, Final

from pipeline.customerio.limits import PERSON_ID_MAX_BYTES
from pipeline.customerio.sandbox.rejections import Rejection, invalid, required

PERSON: Final = ("id", "email", "phone", "cio_id")
PERSON_OF_MERGE: Final = ("id", "email", "cio_id")
"""The documentation has no phone here, nor in relationships."""

LENIENT_PERSON: Final = (*PERSON, "anonymous_id")
"""Not in the documentation; Segment's and RudderStack's destinations send it."""


def check_person(
    value: Any, field: str, rejections: list[Rejection], *, lenient: bool, allowed: tuple[str, ...] = PERSON
) -> None:
    """Check the identifiers of a person: exactly one of `allowed`."""
    if type(value) is not dict:
        rejections.append(required(field) if value is None else invalid(field, "must be an object"))
        return
    if lenient and allowed is PERSON:
        allowed = LENIENT_PERSON
    present = [kind for kind in allowed if kind in value]
    if len(present) != 1:
        rejections.append(invalid(field, f"must have exactly one of {', '.join(allowed)}"))
        return
    kind = present[0]
    identifier = value[kind]
    if type(identifier) is str:
        # The schema has no minimum length; a blank identifier would make one person of many.
        if not identifier.strip():
            rejections.append(invalid(f"{field}.{kind}", "must not be blank"))
        elif len(identifier) * 4 > PERSON_ID_MAX_BYTES and len(identifier.encode()) > PERSON_ID_MAX_BYTES:
            rejections.append(invalid(f"{field}.{kind}", f"cannot be longer than {PERSON_ID_MAX_BYTES} bytes"))
    elif not (lenient and type(identifier) in (int, float)):
        rejections.append(invalid(f"{field}.{kind}", "must be a string or a number" if lenient else "must be a string"))


def check_object(value: Any, field: str, rejections: list[Rejection]) -> None:
    """Check the identifiers of an object: its type and id together, or its `cio_object_id` alone."""
    if type(value) is not dict:
        rejections.append(required(field) if value is None else invalid(field, "must be an object"))
        return
    by_id = "object_type_id" in value and "object_id" in value
    if by_id == ("cio_object_id" in value):
        rejections.append(invalid(field, "must have object_type_id and object_id, or cio_object_id"))
        return
    for kind in ("object_type_id", "object_id") if by_id else ("cio_object_id",):
        identifier = value[kind]
        if type(identifier) is not str:
            rejections.append(invalid(f"{field}.{kind}", "must be a string"))
        elif not identifier.strip():
            rejections.append(invalid(f"{field}.{kind}", "must not be blank"))
        elif len(identifier.encode()) > PERSON_ID_MAX_BYTES:
            rejections.append(invalid(f"{field}.{kind}", f"cannot be longer than {PERSON_ID_MAX_BYTES} bytes"))
