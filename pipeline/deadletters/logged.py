"""Logs dead letters in the stage that gave up: a line each, and of many at once only their number."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

LOGGED: Final = 10
"""Letters at once that have a log line each. A batch that is refused as a whole has thousands, which cost more to log
than to write; the rest is one line with their number, and all of them are in the topic."""

T = TypeVar("T")


def log_letters(log: Any, letters: Sequence[T], fields: Callable[[T], Mapping[str, Any]]) -> None:
    """Log each letter with its `fields`, which include `source`, and never hold anything of the body."""
    for one in letters[:LOGGED]:
        log.warning("dead letter", **fields(one))
    if len(letters) > LOGGED:
        log.warning("more dead letters at once", records=len(letters) - LOGGED, through=fields(letters[-1])["source"])
