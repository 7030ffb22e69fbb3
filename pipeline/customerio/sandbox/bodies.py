"""Reads a request's body: its operations, or the reason why it is refused as a whole."""

from __future__ import annotations

from typing import Any, Final

import orjson

from pipeline.customerio.sandbox.answers import DroppedError
from pipeline.customerio.sandbox.config import SandboxConfig
from pipeline.customerio.sandbox.nesting import MAX_DEPTH, is_too_deep
from pipeline.customerio.sandbox.rejections import Rejection, invalid, required
from pipeline.http.body import BodyError, whole_body

ENTITY: Final = "/api/v2/entity"
BATCH: Final = "/api/v2/batch"

READ_MAX_BYTES: Final = 8_000_000
"""Bounds the memory of one request; at more the connection is cut, as a front end would do."""


class RefusedError(Exception):
    """The request is refused as a whole."""

    def __init__(self, status: int, rejection: Rejection) -> None:
        super().__init__(rejection.message)
        self.status = status
        self.rejection = rejection


async def read(receive: Any) -> bytes:
    """The whole body.

    Raises:
        DroppedError: the client went away, or the body is far too large.
    """
    try:
        return await whole_body(receive)
    except BodyError as error:
        raise DroppedError(f"the request has no body: {error}") from None


def operations_of(path: str, body: bytes, content_type: str, content_encoding: str, config: SandboxConfig) -> list[Any]:
    """The operations of a request to `path`, not yet validated.

    Raises:
        RefusedError: with the status to answer.
    """
    limits = config.limits
    limit = limits.body_bytes if path == BATCH else limits.entity_bytes
    if len(body) > limit:
        raise RefusedError(config.oversize_status, invalid("", f"the request is larger than {limit:,} bytes"))
    if not config.lenient:
        # Only application/json is documented, and no compression; what else the real API reads is unknown.
        if content_type.partition(";")[0].strip().lower() != "application/json":
            raise RefusedError(400, invalid("Content-Type", "must be application/json"))
        if content_encoding not in {"", "identity"}:
            raise RefusedError(400, invalid("Content-Encoding", "must be absent"))
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RefusedError(400, invalid("", f"malformed JSON: {error}")) from None
    if is_too_deep(body, value):
        raise RefusedError(400, invalid("", f"nested deeper than {MAX_DEPTH} levels"))
    if type(value) is not dict:
        raise RefusedError(400, invalid("", "must be an object"))
    if path == ENTITY:
        return [value]
    if "batch" not in value:
        raise RefusedError(400, required("batch"))
    batch = value["batch"]
    if type(batch) is not list:
        raise RefusedError(400, invalid("batch", "must be an array"))
    if not batch and not config.lenient:
        raise RefusedError(400, invalid("batch", "must not be empty"))
    return batch


def oversized(operation: Any, body_bytes: int, config: SandboxConfig) -> bool:
    """Whether one item of a batch is too large, measured as compact JSON."""
    limit = config.limits.item_bytes
    return body_bytes > limit and len(orjson.dumps(operation)) > limit
