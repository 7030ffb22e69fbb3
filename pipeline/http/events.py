"""What happened to connections, as frozen records for observers (metrics, log)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

Reason = Literal[
    "refused", "evicted", "late head", "late body", "late reader", "large head", "large body", "malformed", "overloaded"
]
"""Why a connection was ended by us that its client had not done with.

`refused`: as many as allowed, each with a request to answer. `evicted`: it made room for another one. `late …`: its
head or body did not come in time, or its answer was not taken. `large …`, `malformed`: what HTTP or our limits do not
allow. `overloaded`: no memory for its body.
"""


@dataclass(frozen=True, slots=True)
class ConnectionEnded:
    """A connection was ended by us."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class DescriptorsExhausted:
    """A connection could not be accepted: the process, or the machine, has no file descriptor left."""

    error: str


@dataclass(frozen=True, slots=True)
class ConnectionsCounted:
    """Connections that are open, and how many of them there may be."""

    open: int
    limit: int


Observer = Callable[[Any], None]
"""Sees each record on the event loop; must not block."""
