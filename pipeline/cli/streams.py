r"""Prepares standard output, error and input, which may be closed, full, or of another encoding.

In each case a command ends with one line and one exit code, the same for all commands:

    closed pipe        `dodo-cio … | head`: quietly with 141, as a shell reports of a program that SIGPIPE ended
    full, closed       one line with the fault, exit code 1: the output was not written
    no UTF-8           a character that cannot be shown is written as `\u2192`, which is right inside of JSON as well

SIGPIPE itself stays ignored: a broker that closes its connection would end the process.
"""

from __future__ import annotations

import codecs
import errno
import io
import os
import sys
from typing import Any, Final

from pipeline.errors import ClosedPipeError, OutputError

ESCAPED: Final = "dodo-cio-escaped"


def prepare() -> None:
    """Replace Python's standard output by ours, and open something harmless for each stream that is closed."""
    codecs.register_error(ESCAPED, _escape)
    if sys.stdin is None:
        _occupy(0, os.O_RDONLY)
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - as long as the process
    if sys.stdout is None:
        # Read-only: the first write fails, as on a closed stream; and no connection can get this number meanwhile.
        _occupy(1, os.O_RDONLY)
    if sys.stderr is None:
        _occupy(2, os.O_WRONLY)
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - as long as the process
    given = sys.stdout
    if given is not None and given is not sys.__stdout__:
        return  # a test's
    encoding = "utf-8" if given is None else given.encoding
    terminal = given is not None and given.isatty()
    raw = _StandardOutput()
    sys.stdout = io.TextIOWrapper(io.BufferedWriter(raw), encoding, ESCAPED, line_buffering=terminal)


def finish() -> None:
    """Write what is buffered.

    Raises:
        OutputError: it cannot be written.
    """
    if sys.stdout is not None:
        sys.stdout.flush()


def complain(text: str) -> None:
    """Print one message on standard error, if that is open."""
    try:
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        """Standard error is closed."""


class _StandardOutput(io.FileIO):
    """Descriptor 1. After the first failure it ignores all writes: the interpreter flushes once more at its end."""

    def __init__(self) -> None:
        self._failed = False
        try:
            super().__init__(1, "w", closefd=False)
        except OSError:
            self._failed = True
            raise

    def write(self, data: Any) -> int:
        """Write, or raise with the cause."""
        if self._failed:
            return memoryview(data).nbytes
        try:
            return super().write(data) or 0
        except OSError as error:
            self._failed = True
            if error.errno == errno.EPIPE:
                raise ClosedPipeError("standard output was closed by its reader") from None
            raise OutputError(f"standard output cannot be written: {error.strerror}") from None


def _occupy(number: int, flags: int) -> None:
    found = os.open(os.devnull, flags)
    if found != number:
        os.dup2(found, number)
        os.close(found)


def _escape(error: UnicodeError) -> tuple[str, int]:
    """The characters that the output's encoding lacks, as JSON escapes."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2)), error.end
