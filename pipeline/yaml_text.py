"""Reads YAML that a person wrote, so that whatever is wrong with it is one kind of error."""

from __future__ import annotations

from typing import Any

import yaml


def load(text: str) -> Any:
    """The value of `text`, of plain kinds alone.

    Raises:
        ValueError: what is wrong, and where if that is known.
    """
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"no YAML: {error}") from None
    except RecursionError:
        raise ValueError("nested too deep") from None
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        # What looks like a date, or has a tag such as !!bool, is given to Python as it is: 2026-02-30.
        raise ValueError(f"a value in it cannot be read: {error}") from None
