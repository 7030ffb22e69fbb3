"""One error of the Track API, in its own words."""

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
    """Something that must be there is not."""
    return Rejection("required", field, "is required")


def invalid(field: str, message: str) -> Rejection:
    """Something is there and wrong."""
    return Rejection("invalid", field, message)
