"""Makes a record of the log for people one line, and what is indented under it: no text in it can pose as a record."""

from __future__ import annotations

import re
from collections.abc import MutableMapping
from typing import Any, Final

CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
"""What ends a line or steers a terminal."""

OF_MANY_LINES: Final = frozenset({"message", "exception", "stack"})
"""Libraries write tables, and Python tracebacks, which are there to be read."""

INDENT: Final = "    "


def indented(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor: control characters become visible, further lines of a message or traceback indented."""
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = _lines(value, key) if key in OF_MANY_LINES else _visible(value)
    return event


def _lines(text: str, key: str) -> str:
    lines = f"\n{INDENT}".join(map(_visible, text.rstrip("\n").split("\n")))
    return lines if key == "message" else f"{INDENT}{lines}"


def _visible(text: str) -> str:
    return CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
