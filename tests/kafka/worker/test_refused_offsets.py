"""Which offsets a consumer's brokers had out of range."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.fetch import FetchRequest
from faust.types import TP

from pipeline.kafka.followers import OUT_OF_RANGE
from pipeline.kafka.worker.app import BatchApp
from pipeline.settings import Settings

ASKED = [("webhooks", [(0, 1000, 1), (1, 2000, 1)]), ("others", [(0, 3000, 1)])]


async def answering(*_: Any, **_options: Any) -> Any:
    """What brokers answer that have one offset out of range."""
    return SimpleNamespace(
        topics=[("others", [(0, 0, 3001, b"")]), ("webhooks", [(0, 0, 1001, b""), (1, OUT_OF_RANGE, -1, b"")])]
    )


async def test_a_worker_keeps_the_offset_that_was_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By partition, and nothing of those that could be read."""
    monkeypatch.setattr(AIOKafkaClient, "send", answering)
    app = BatchApp("cut", settings=Settings.load(data_dir=tmp_path), batch_topics=["webhooks"], stage="sink")
    thread = cast("Any", app.consumer)._thread
    consumer = thread._create_worker_consumer(app.transport)
    try:
        assert thread.refused == {}
        answer = await consumer._client.send(1, FetchRequest(1, 1, 1, 0, ASKED))
        assert thread.refused == {TP("webhooks", 1): 2000}
        assert [topic for topic, _ in answer.topics] == ["others", "webhooks"]
    finally:
        await consumer.stop()
