"""The answer to a request as the sink reads it, and the names of outcomes in events and series."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from pipeline.customerio.outcomes import (
    Accepted,
    Outcome,
    PartlyRefused,
    RetryLater,
    Split,
    Unauthorized,
    WrongRegion,
)
from pipeline.sink.events import RequestOutcome


class Answer(Protocol):
    """`pipeline.customerio.client.Response` fits."""

    @property
    def status(self) -> int:
        """The HTTP status."""

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers, names in any case."""

    @property
    def body(self) -> bytes:
        """The body as it came."""


def name_of(outcome: Outcome) -> RequestOutcome:
    """The outcome's name in events and series."""
    match outcome:
        case Accepted():
            return "accepted"
        case PartlyRefused():
            return "partly-refused"
        case Split():
            return "refused-whole"
        case RetryLater():
            return "retry"
        case Unauthorized():
            return "unauthorized"
        case WrongRegion():
            return "wrong-region"
