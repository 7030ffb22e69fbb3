"""Requests that are answered without ASGI: no task, no scope and no messages, for the one path that must be fast.

For each such request `Direct.begin` is called when its head is complete, and then exactly one of `Taking`'s methods:
its body is whole, will not arrive, or is no longer needed. It is answered through its `Exchange`, at any time, once.
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
        """Send the whole answer; `fields` are header lines as they are sent, Content-Length among them."""

    def leave(self) -> None:
        """End the request without an answer, and the connection with it: the client is gone."""


class Taking(Protocol):
    """A request that has begun."""

    def whole(self, body: bytes) -> None:
        """Handle the whole body."""

    def failed(self, error: BodyError) -> None:
        """Handle a body that will not arrive."""

    def cancel(self) -> None:
        """Give up: the process cannot wait for the answer any longer."""


class Direct(Protocol):
    """The handler of one path."""

    def begin(self, exchange: Exchange) -> Taking:
        """Handle the head of a request."""


Directs = Mapping[tuple[str, str], Direct]
"""Handlers by method and path."""
