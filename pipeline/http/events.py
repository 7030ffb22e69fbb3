"""Events of connections, as frozen records for observers (metrics, log)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

Reason = Literal[
    "refused", "evicted", "late head", "late body", "late reader", "large head", "large body", "malformed", "overloaded"
]
"""Why the server ended a connection that its client still used.

`refused`: there are as many as allowed, each with a request to answer. `evicted`: it made room for another one. `late
…`: its head or body did not arrive in time, or its answer was not read. `large …`, `malformed`: not allowed by HTTP or
our limits. `overloaded`: no memory for its body.
"""


@dataclass(frozen=True, slots=True)
class ConnectionEnded:
    """The server ended a connection."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class DescriptorsExhausted:
    """A connection could not be accepted: the process, or the machine, has no file descriptor left."""

    error: str


@dataclass(frozen=True, slots=True)
class ConnectionsCounted:
    """The number of open connections, and its limit."""

    open: int
    limit: int


Observer = Callable[[Any], None]
"""Sees each record on the event loop; must not block."""
