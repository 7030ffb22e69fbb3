"""Events of ingest, as frozen records for observers (metrics, log)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from pipeline.dodo.signature import Mode

Outcome = Literal[
    "accepted",
    "dead-lettered",
    "forged",
    "incomplete",
    "too-large",
    "too-slow",
    "unavailable",
    "overloaded",
    "client-gone",
]
"""How a request ended.

`accepted` and `dead-lettered` were stored and answered 200. `forged` (401), `incomplete` (400: a body that ended before
its end), `too-large` (413) and `too-slow` (408) are the caller's fault. `unavailable` (503): Kafka did not confirm in
time. `overloaded` (503): too many bodies in memory. `client-gone`: it hung up before its body was complete.
"""


class RequestEnded(NamedTuple):
    """One request to the webhook path; `status` 0 when nobody was left to answer.

    A tuple, as all that is made for each webhook: a frozen dataclass costs three times as much to make.
    """

    outcome: Outcome
    status: int
    seconds: float
    size_bytes: int = 0
    mode: Mode | None = None
    type: str | None = None
    reason: str = ""
    """Why, in words without content of the request; empty for accepted ones."""
    skew_s: float | None = None
    """Of a genuine webhook that was refused for its time: how far that is from our clock (below 0: older)."""
    webhook_id: bytes = b""
    """Of a request that was stored."""
    dated_s: int | None = None
    """Of a genuine webhook: the time that it was signed with, unix seconds by Dodo's clock."""


class RecordsStored(NamedTuple):
    """Every in-sync replica has these records, which were one batch; `seconds` each waited for it."""

    topic: str
    seconds: tuple[float, ...]
    appended_at_ms: int | None = None
    """When the leader appended them, by its clock; None where records keep their own time."""


@dataclass(frozen=True, slots=True)
class ProducerReplaced:
    """A producer whose sequence broke was exchanged; its unconfirmed requests were answered 503."""

    reason: str
    seconds: float


Observer = Callable[[Any], None]
"""Sees each record on the event loop; must not block. One that raises changes no answer (`pipeline.observers`)."""
