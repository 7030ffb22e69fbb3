"""A failure is named by its kind and place, never by its words."""

from __future__ import annotations

import pytest

from pipeline.transform.failures import where


def test_where_it_was_raised() -> None:
    """The file and line, and nothing of the message, which may quote a body."""
    with pytest.raises(ValueError, match="ann") as found:
        int("ann@example.com")
    assert where(found.value) == f"ValueError at test_failures.py:{found.tb.tb_lineno}"


def test_one_that_was_never_raised() -> None:
    """It has no place."""
    assert where(ValueError("ann@example.com")) == "ValueError"
