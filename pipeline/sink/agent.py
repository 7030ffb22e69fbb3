"""The sink's one agent: it hands each chunk to the lanes and waits until there is room for the next."""

from __future__ import annotations

from typing import Any

from pipeline.errors import ContractViolationError
from pipeline.kafka.worker.app import BatchApp
from pipeline.sink.sink import Sink

NAME = "sink.operations"


def add_agent(app: BatchApp, sink: Sink) -> None:
    """Let `app` read the operations topic into `sink`.

    The agent never raises for what a record holds. What it does raise ends the process (`CrashingSupervisor`) before
    anything was acknowledged, and Kafka redelivers.
    """

    @app.agent(app.topic(app.settings.operations_topic, key_type=bytes, value_type=bytes), name=NAME)
    async def operations(stream: Any) -> None:
        async for event in stream.noack().events():
            await sink.take(event.value)

    if list(app.agents) != [NAME]:
        raise ContractViolationError(f"the sink must have the agent {NAME} and no other, not {list(app.agents)}")
