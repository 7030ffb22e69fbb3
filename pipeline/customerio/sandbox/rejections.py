"""Errors of the Track API, in its own form and words."""

from __future__ import annotations

from typing import NamedTuple


class Rejection(NamedTuple):
    """Why an operation or request is refused.

    `reason` is `required` or `invalid`, the two values that Customer.io's own clients know; `field` is a dotted path.
    """

    reason: str
    field: str
    message: str


def required(field: str) -> Rejection:
    """A required field is missing."""
    return Rejection("required", field, "is required")


def invalid(field: str, message: str) -> Rejection:
    """A field has a value that is not valid."""
    return Rejection("invalid", field, message)
