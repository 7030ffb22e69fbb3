"""A terminal of some width, and the commands on it, in this process."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Sequence

import pytest

from pipeline.cli import build

STYLES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
WIDE = 4_000
"""Columns at which nothing has to be wrapped."""


class Screen(io.StringIO):
    """What says of itself that it is a terminal."""

    def isatty(self) -> bool:
        """So it looks to whoever asks."""
        return True

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Every character can be shown."""
        return "utf-8"


def shown(monkeypatch: pytest.MonkeyPatch, command: Sequence[str], columns: int, code: int = 0) -> str:
    """What a terminal of this width shows of a command's standard output, without its colours; it ends with `code`."""
    screen = Screen()
    with monkeypatch.context() as patch:
        patch.setenv("COLUMNS", str(columns))
        patch.setenv("TERM", "xterm-256color")
        patch.setattr(sys, "stdout", screen)
        with pytest.raises(SystemExit) as end:
            build()(list(command))
    assert (end.value.code or 0) == code, f"{command} ended with {end.value.code}"
    return STYLES.sub("", screen.getvalue())


def broken(text: str, wide: str, columns: int) -> set[str]:
    """Words of `text` that `wide`, the same where nothing is wrapped, does not have; a word too long for a line aside.

    A word that fills whole lines is cut somewhere, and its parts are no fault.
    """
    words = set(wide.split())
    long = [word for word in words if len(word) > columns]
    return {word for word in text.split() if word not in words and not any(word in one for one in long)}
