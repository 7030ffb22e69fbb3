"""The id of a topic, by which it is distinguished from a former one of the same name, which was deleted.

An offset means nothing in another topic. Kafka forgets a group's offsets with the topic, but a worker that was frozen
meanwhile commits its own into the new one, and the first records there would be passed over. So each commit carries
beside the offset which topic it is of, and whoever begins at it compares.

Metadata v11 (Kafka 2.8) returns ids, and on request what this user may do with each topic; aiokafka 0.14 stops at v5.
Written with its own protocol classes.
"""

from __future__ import annotations

import base64
import random
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final

from aiokafka.errors import IncompatibleBrokerVersion
from aiokafka.protocol.abstract import AbstractType
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)

API_KEY: Final = 3
VERSION: Final = 11
ID_BYTES: Final = 16
NO_ID: Final = bytes(ID_BYTES)

UNSUPPORTED: Final = (IncompatibleBrokerVersion, NotImplementedError)
"""What aiokafka raises for a broker that is too old for a request."""

MARK: Final = "topic-id:"
MARK_END: Final = ";"


class Uuid(AbstractType[bytes]):  # type: ignore[misc]  # untyped upstream
    """Sixteen bytes."""

    @classmethod
    def encode(cls, value: bytes) -> bytes:
        """As they are."""
        return value

    @classmethod
    def decode(cls, data: BytesIO) -> bytes:
        """The next sixteen."""
        return data.read(ID_BYTES)


class TopicsResponseV11(Response):  # type: ignore[misc]  # untyped upstream
    """Brokers and topics."""

    API_KEY = API_KEY
    API_VERSION = VERSION
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(
                ("node_id", Int32),
                ("host", CompactString("utf-8")),
                ("port", Int32),
                ("rack", CompactString("utf-8")),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_id", CompactString("utf-8")),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("name", CompactString("utf-8")),
                ("topic_id", Uuid),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("isr", CompactArray(Int32)),
                        ("offline_replicas", CompactArray(Int32)),
                        ("tags", TaggedFields),
                    ),
                ),
                ("topic_authorized_operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class TopicsRequestV11(RequestStruct):  # type: ignore[misc]  # untyped upstream
    """Topics by name."""

    FLEXIBLE_VERSION = True
    API_KEY = API_KEY
    API_VERSION = VERSION
    RESPONSE_TYPE = TopicsResponseV11
    SCHEMA = Schema(
        (
            "topics",
            CompactArray(("topic_id", Uuid), ("name", CompactString("utf-8")), ("tags", TaggedFields)),
        ),
        ("allow_auto_topic_creation", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class TopicsRequest(Request[TopicsRequestV11]):  # type: ignore[misc]  # untyped upstream
    """What a client sends; never lets the broker create a topic."""

    API_KEY = API_KEY

    def __init__(self, names: Iterable[str], *, operations: bool = False) -> None:
        self._names = sorted(names)
        self._operations = operations

    def build(self, request_struct_class: type[TopicsRequestV11]) -> TopicsRequestV11:
        """The request of the negotiated version."""
        topics: list[tuple[bytes, str, dict[int, bytes]]] = [(NO_ID, name, {}) for name in self._names]
        return request_struct_class(topics, False, self._operations, {})


@dataclass(frozen=True, slots=True)
class TopicState:
    """A topic as one broker knows it; `error` is Kafka's code, `operations` the bits of what this user may do."""

    name: str
    error: int
    id: str | None
    partitions: int
    operations: int


def states_of(answer: Any) -> dict[str, TopicState]:
    """By name, the topics of an answer."""
    found = {}
    for topic in answer.to_object()["topics"]:
        raw: bytes = topic["topic_id"]
        text = None if raw == NO_ID else base64.urlsafe_b64encode(raw).decode().rstrip("=")
        found[topic["name"]] = TopicState(
            topic["name"], topic["error_code"], text, len(topic["partitions"]), topic["topic_authorized_operations"]
        )
    return found


async def ask_for_topics(client: Any, names: Collection[str]) -> dict[str, TopicState] | None:
    """The topics as a broker of a started aiokafka client knows them; None when it is too old to return ids.

    Raises:
        KafkaError: no broker answered.
    """
    nodes = [broker.nodeId for broker in client.cluster.brokers()]
    if not nodes:
        return {}
    try:
        return states_of(await client.send(random.choice(nodes), TopicsRequest(names)))  # noqa: S311 - no secret
    except UNSUPPORTED:
        return None


def marked(topic_id: str | None, note: str) -> str:
    """What lies beside an offset: which topic it is of, and then whatever else is noted there."""
    return f"{MARK}{topic_id}{MARK_END}{note}" if topic_id else note


def unmarked(text: str | None) -> tuple[str | None, str]:
    """The topic's id that `text` begins with, and the rest of it."""
    text = text or ""
    if text.startswith(MARK) and MARK_END in text:
        topic_id, _, note = text.removeprefix(MARK).partition(MARK_END)
        return topic_id, note
    return None, text
