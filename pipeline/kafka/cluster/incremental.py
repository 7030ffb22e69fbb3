"""IncrementalAlterConfigs (KIP-339): change some values of a topic's configuration and leave the others alone.

aiokafka 0.14 only has AlterConfigs, which resets every value that it is not given: a retention that the platform team
had set by hand would be lost. Written with aiokafka's own protocol classes.
"""

from __future__ import annotations

from typing import Final

from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Boolean, Int8, Int16, Int32, Schema, String

API_KEY: Final = 44
SET: Final = 0
"""AlterConfigOp.OpType.SET."""

Change = tuple[str, int, str | None]
"""(name, operation, value)."""


class IncrementalAlterConfigsResponseV0(Response):  # type: ignore[misc]  # untyped upstream
    """Error code and message for each resource."""

    API_KEY = API_KEY
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "responses",
            Array(
                ("error_code", Int16),
                ("error_message", String("utf-8")),
                ("resource_type", Int8),
                ("resource_name", String("utf-8")),
            ),
        ),
    )


class IncrementalAlterConfigsRequestV0(RequestStruct):  # type: ignore[misc]  # untyped upstream
    """Changes for each resource."""

    API_KEY = API_KEY
    API_VERSION = 0
    RESPONSE_TYPE = IncrementalAlterConfigsResponseV0
    SCHEMA = Schema(
        (
            "resources",
            Array(
                ("resource_type", Int8),
                ("resource_name", String("utf-8")),
                (
                    "configs",
                    Array(
                        ("name", String("utf-8")),
                        ("config_operation", Int8),
                        ("value", String("utf-8")),
                    ),
                ),
            ),
        ),
        ("validate_only", Boolean),
    )


class IncrementalAlterConfigsRequest(Request[IncrementalAlterConfigsRequestV0]):  # type: ignore[misc]  # untyped upstream
    """What the admin client sends; the connection negotiates the version."""

    API_KEY = API_KEY

    def __init__(self, resources: list[tuple[int, str, list[Change]]]) -> None:
        self._resources = resources

    def build(self, request_struct_class: type[IncrementalAlterConfigsRequestV0]) -> IncrementalAlterConfigsRequestV0:
        """The request of the negotiated version."""
        return request_struct_class(self._resources, False)
