"""A broker with users and ACLs, as the tests of Kafka's own rooms have it."""

from __future__ import annotations

from tests.kafka.conftest import secure_kafka

__all__ = ["secure_kafka"]
