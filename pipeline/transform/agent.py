"""The transform's one agent: it hands each chunk to the flow and waits until the next may come."""

from __future__ import annotations

from typing import Any

from pipeline.errors import ContractViolationError
from pipeline.kafka.worker.app import BatchApp
from pipeline.transform.flow import Flow

NAME = "transform.webhooks"


def add_agent(app: BatchApp, flow: Flow) -> None:
    """Let `app` read the webhooks topic through `flow`.

    The agent never raises for what a record holds. What it does raise ends the process (`CrashingSupervisor`) before
    anything was acknowledged, and Kafka redelivers.
    """

    @app.agent(app.topic(app.settings.webhooks_topic, key_type=bytes, value_type=bytes), name=NAME)
    async def webhooks(stream: Any) -> None:
        async for event in stream.noack().events():
            await flow.take(event.value)

    if list(app.agents) != [NAME]:
        raise ContractViolationError(f"the transform must have the agent {NAME} and no other, not {list(app.agents)}")
