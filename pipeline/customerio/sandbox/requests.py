"""The log of requests and answers, with the bodies while memory allows."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

BODIES_MAX_BYTES: Final = 64_000_000
"""Bounds the memory of bodies; the oldest are dropped first, the rest of their entries stays."""


@dataclass(slots=True)
class Request:
    """One request to the API.

    Attributes:
        number: its place in the order of arrival, from 1.
        arrived_at_ms: unix milliseconds.
        status: of the answer; None when the connection was dropped or the answer is still due.
        applied: whether its valid operations were applied.
        body_crc32: by which a repetition of the same bytes is recognised.
    """

    number: int
    method: str
    path: str
    arrived_at_ms: int
    size_bytes: int = 0
    operations: int = 0
    refused: int = 0
    status: int | None = None
    applied: bool = False
    dropped: bool = False
    fault: bool = False
    took_ms: float | None = None
    body_crc32: int = 0
    body: bytes | None = None

    def as_json(self) -> dict[str, Any]:
        """The request for `/__sandbox/requests`, without the body."""
        return {
            "number": self.number,
            "method": self.method,
            "path": self.path,
            "arrived_at_ms": self.arrived_at_ms,
            "bytes": self.size_bytes,
            "operations": self.operations,
            "refused": self.refused,
            "status": self.status,
            "applied": self.applied,
            "dropped": self.dropped,
            "fault": self.fault,
            "took_ms": self.took_ms,
            "body_crc32": f"{self.body_crc32:08x}",
        }


@dataclass(slots=True)
class RequestLog:
    """The last requests, and totals of all."""

    keep: int
    total: int = 0
    size_bytes: int = 0
    operations: int = 0
    accepted: int = 0
    refused: int = 0
    largest_batch: int = 0
    largest_body_bytes: int = 0
    dropped: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    _requests: deque[Request] = field(init=False)
    _with_bodies: deque[Request] = field(default_factory=deque)
    _bodies_bytes: int = 0

    def __post_init__(self) -> None:
        self._requests = deque(maxlen=self.keep)

    def __iter__(self) -> Iterator[Request]:
        """The requests kept, in the order of their arrival."""
        return iter(self._requests)

    def arrive(self, method: str, path: str, at_ms: int) -> Request:
        """Add a request that arrived."""
        self.total += 1
        request = Request(self.total, method, path, at_ms)
        self._requests.append(request)
        return request

    def read(self, request: Request, body: bytes, crc32: int, *, keep_body: bool) -> None:
        """Record that the body is complete."""
        request.size_bytes, request.body_crc32 = len(body), crc32
        self.size_bytes += len(body)
        self.largest_body_bytes = max(self.largest_body_bytes, len(body))
        if keep_body and self.keep:
            request.body = body
            self._with_bodies.append(request)
            self._bodies_bytes += len(body)
            while self._with_bodies and (self._bodies_bytes > BODIES_MAX_BYTES or len(self._with_bodies) > self.keep):
                oldest = self._with_bodies.popleft()
                self._bodies_bytes -= len(oldest.body or b"")
                oldest.body = None

    def processed(self, request: Request, operations: int, refused: int) -> None:
        """Record that the operations were checked and the valid ones applied."""
        request.operations, request.refused, request.applied = operations, refused, operations > refused
        self.operations += operations
        self.refused += refused
        self.accepted += operations - refused
        self.largest_batch = max(self.largest_batch, operations)

    def answered(self, request: Request, status: int, took_ms: float) -> None:
        """Record the answer."""
        request.status, request.took_ms = status, round(took_ms, 3)
        self.statuses[status] += 1

    def lost(self, request: Request) -> None:
        """Record that the connection was dropped on purpose."""
        request.dropped = True
        self.dropped += 1
