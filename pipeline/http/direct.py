"""Requests that are answered without ASGI: no task, no scope and no messages, for the path that a process is for.

Of each such request `Direct.begin` is called when its head is there, and then exactly one of three: its body is whole,
will not come, or nobody waits for it any more. It is answered through its `Exchange`, at once or whenever, once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from pipeline.http.body import BodyError


class Exchange(Protocol):
    """A request to be answered."""

    @property
    def headers(self) -> Sequence[tuple[bytes, bytes]]:
        """Names in lower case."""

    def answer(self, status: int, fields: bytes, body: bytes, close: bool) -> None:
        """Send an answer, whole; `fields` are header lines as they leave, Content-Length among them."""

    def leave(self) -> None:
        """End it without an answer, and the connection with it: nobody is left to hear one."""


class Taking(Protocol):
    """A request that has begun."""

    def whole(self, body: bytes) -> None:
        """The body is there."""

    def failed(self, error: BodyError) -> None:
        """It will not come."""

    def cancel(self) -> None:
        """The process cannot wait for the answer any longer."""


class Direct(Protocol):
    """What answers one path."""

    def begin(self, exchange: Exchange) -> Taking:
        """The head of a request is there."""


Directs = Mapping[tuple[str, str], Direct]
"""By method and path."""
