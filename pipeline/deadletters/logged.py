"""Dead letters in the log of the stage that gave up: a line each, and of many at once a number."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

LOGGED: Final = 10
"""Letters of one giving up that have a log line each. A batch refused as a whole has thousands, which cost more to log
than to write; the rest is one line, and each of them is in the topic."""

T = TypeVar("T")


def log_letters(log: Any, letters: Sequence[T], fields: Callable[[T], Mapping[str, Any]]) -> None:
    """Say of each letter what `fields` tells, `source` among it; never what the body says."""
    for one in letters[:LOGGED]:
        log.warning("dead letter", **fields(one))
    if len(letters) > LOGGED:
        log.warning("more dead letters at once", records=len(letters) - LOGGED, through=fields(letters[-1])["source"])
