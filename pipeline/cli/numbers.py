"""Checks numbers of options that click takes and no clock does."""

from __future__ import annotations

import math

import typer


def finite(value: float | None) -> float | None:
    """`value`, unless it is NaN, which passes every comparison with a bound, or infinite."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter("must be a finite number")
    return value
