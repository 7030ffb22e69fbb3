"""The exit codes of all commands, in one table: for `--help`, and for the page about operating."""

from __future__ import annotations

from typing import Final

EXIT_CODES: Final = {
    0: "done; a stage: ended by a signal",
    1: "not done, and may pass by itself (no broker, no answer, a full disk), or a check found something to look at",
    2: "something must be changed first: an argument, a file, a setting, a key, a right, a topic; `doctor`: any fault, "
    "also one that may pass",
    3: "preview: the candidate would change something",
    130: "ended by Ctrl-C; what was begun can be gone on with",
    141: "standard output was closed by its reader, as by `| head`",
}
"""The meaning of each exit code. Nothing else is ever returned."""


def as_markdown() -> str:
    """The table."""
    rows = [f"| {code} | {says} |" for code, says in EXIT_CODES.items()]
    return "\n".join(["| exit code | says |", "|---|---|", *rows])


def as_help() -> str:
    """The same at the foot of `--help`."""
    return "**Exit codes**\n\n" + "\n".join(f"- {code}: {says}" for code, says in EXIT_CODES.items())
