"""Progress is for a person at a terminal, and for nobody else."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr

import pytest

from pipeline.cli.progress import STEP, bar, reading, share


class Terminal(io.StringIO):
    """A standard error that somebody looks at."""

    def isatty(self) -> bool:
        """It is."""
        return True


@contextmanager
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    """The same, a hundred columns wide and able to move its cursor."""
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    with redirect_stderr(Terminal()) as shown:
        yield shown


def test_a_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """It says what is done of how much, on standard error alone, and is wiped away at the end."""
    with terminal(monkeypatch) as shown, share("Reading the topics") as tell:
        tell(3, 40)
        tell(40, 40)
    text = shown.getvalue()
    assert "Reading the topics" in text
    assert "40/40" in text
    assert text.endswith("\x1b[2K"), "the line is empty again"
    assert capsys.readouterr().out == ""


def test_a_bar_of_records(monkeypatch: pytest.MonkeyPatch) -> None:
    """It moves once in so many records: to draw one costs as much as to read hundreds."""
    with terminal(monkeypatch) as shown, reading(2 * STEP) as read:
        for _ in range(2 * STEP):
            read()
    assert f"{2 * STEP}/{2 * STEP}" in shown.getvalue()


def test_nobody_looks(capsys: pytest.CaptureFixture[str]) -> None:
    """In a pipe or a job's log not a byte of it is written."""
    with bar("Reading", 10) as tell, reading(STEP) as read:
        tell(10)
        for _ in range(STEP):
            read()
    assert capsys.readouterr() == ("", "")
