"""The answers of the sandbox, as bytes with status and headers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

import orjson

from pipeline.customerio.sandbox.faults import Step, retry_after_header
from pipeline.customerio.sandbox.rejections import Rejection

JSON: Final = "application/json; charset=utf-8"

RECORDED_HEADERS: Final[Mapping[str, str]] = MappingProxyType(
    {"cache-control": "no-cache, no-store, must-revalidate, max-age=0", "access-control-allow-origin": "*"}
)
"""As recorded from the real `/api/v2/batch` (customerio-node, test/fixtures/responses/batch__success.json)."""


class DroppedError(ConnectionError):
    """The connection must be cut without an answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of the sandbox."""

    status: int
    body: bytes
    content_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=lambda: RECORDED_HEADERS)

    def raw_headers(self) -> list[tuple[bytes, bytes]]:
        """The headers in ASGI's form."""
        headers = {
            "content-type": self.content_type,
            "content-length": str(len(self.body)),
            **{name.lower(): value for name, value in self.headers.items()},
        }
        return [(name.encode("latin-1"), value.encode("latin-1", "replace")) for name, value in headers.items()]


def as_json(value: Any) -> bytes:
    """JSON with a newline at its end, like the real API's answers."""
    return orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)


SUCCESS: Final = Answer(200, as_json({}))
UNAUTHORIZED: Final = Answer(401, as_json({"meta": {"error": "Unauthorized request"}}))
"""The body is not documented; nothing should read it."""


def refused(status: int, rejections: Sequence[Rejection]) -> Answer:
    """The whole request is refused."""
    return Answer(status, as_json({"errors": [rejection._asdict() for rejection in rejections]}))


def multi_status(rejections: Sequence[tuple[int, Rejection]]) -> Answer:
    """Some items are refused; all others were accepted."""
    return Answer(
        207, as_json({"errors": [{"batch_index": index, **rejection._asdict()} for index, rejection in rejections]})
    )


def elsewhere(location: str, status: int = 301) -> Answer:
    """The workspace lives in the other region; the body is as captured from Customer.io's App API."""
    body = as_json({"errors": [{"detail": "wrong datacenter", "status": str(status)}]})
    return Answer(status, body, headers={**RECORDED_HEADERS, "location": location})


def too_many(retry_after: float | str | None) -> Answer:
    """The rate limit is exceeded."""
    headers = dict(RECORDED_HEADERS)
    if retry_after is not None:
        headers["retry-after"] = retry_after_header(retry_after)
    return Answer(429, as_json({"meta": {"error": "Too many requests"}}), headers=headers)


def scripted(step: Step, otherwise: Answer) -> Answer:
    """The answer of a fault step; what the step does not set is taken from `otherwise`."""
    if step.status is None:
        return otherwise
    if isinstance(step.body, str):
        body, content_type = step.body.encode(), "text/plain; charset=utf-8"
        if step.body.lstrip()[:1] == "<":
            content_type = "text/html; charset=utf-8"
    else:
        body, content_type = b"" if step.body is None else as_json(step.body), JSON
    headers = {**RECORDED_HEADERS, **step.headers}
    if step.location is not None:
        headers["location"] = step.location
    if step.retry_after is not None:
        headers["retry-after"] = retry_after_header(step.retry_after)
    return Answer(step.status, body, step.content_type or content_type, headers)
