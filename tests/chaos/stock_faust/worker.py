"""A worker of stock Faust: copies every record of the webhooks' topic to the operations' topic, as its manual shows.

Nothing of ours is in this process: Faust's own transport, streams, supervisors and producer as they are installed. A
record is done when its copy is in the output topic; what a scene wants otherwise comes from `STOCK_*` variables.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterable
from typing import Any

import faust

WAY = os.environ.get("STOCK_WAY", "values")
FAIL_AT = os.environ.get("STOCK_FAIL_AT", "").encode()
HANG_AT = os.environ.get("STOCK_HANG_AT", "").encode()
REPAIR_S = float(os.environ.get("STOCK_REPAIR_S", "0"))
WORK_S = float(os.environ.get("STOCK_WORK_S", "0"))
HANG_S = float(os.environ.get("STOCK_HANG_S", "3600"))
SETTINGS: dict[str, Any] = json.loads(os.environ.get("STOCK_SETTINGS", "{}"))


class App(faust.App):
    """Faust's, with a handler of errors that takes its time, as one that tells a pager does."""

    async def _on_agent_error(self, agent: Any, exc: BaseException) -> None:
        await asyncio.sleep(REPAIR_S)
        await super()._on_agent_error(agent, exc)


app = App(
    os.environ["PIPELINE_TRANSFORM_GROUP"],
    **{
        "broker": f"kafka://{os.environ['PIPELINE_KAFKA_BOOTSTRAP_SERVERS']}",
        "value_serializer": "raw",
        "topic_allow_declare": False,
        "topic_disable_leader": True,
        "table_standby_replicas": 0,
        "broker_commit_interval": 0.5,
        "broker_session_timeout": 6.0,  # else a killed worker keeps its successor waiting for a minute
        "web_enabled": False,
        "datadir": os.environ["STOCK_DATA_DIR"],
        **SETTINGS,
    },
)
webhooks = app.topic(os.environ["PIPELINE_WEBHOOKS_TOPIC"], key_type=bytes, value_type=None if WAY == "json" else bytes)
if WAY == "json":
    webhooks = app.topic(os.environ["PIPELINE_WEBHOOKS_TOPIC"], key_type=bytes, value_serializer="json")
operations = app.topic(os.environ["PIPELINE_OPERATIONS_TOPIC"], value_serializer="raw")


def say(text: str) -> None:
    """A line for the scene that waits for it, whatever Faust does to the logs."""
    os.write(1, f"SCENE {text}\n".encode())


def starts(value: bytes, with_what: bytes) -> bool:
    """Whether this is the record that the scene is about."""
    return bool(with_what) and value.startswith(with_what)


async def copy(value: bytes) -> None:
    """The agent's work on one record, done when it returns."""
    if starts(value, HANG_AT):
        say(f"hangs at {value.decode()}")
        await asyncio.sleep(HANG_S)
        say(f"goes on behind {value.decode()}")
    if starts(value, FAIL_AT):
        say(f"fails at {value.decode()}")
        raise RuntimeError("a bug in the agent")
    if WORK_S:
        await asyncio.sleep(WORK_S)
    sent = await operations.send(value=value)
    if WAY != "send":  # the manual's `await topic.send()` waits for the buffer, not for the broker
        await sent
    say(f"did {value.decode()}")


async def values(stream: Any) -> None:
    """As the manual's first page."""
    async for value in stream:
        await copy(value if isinstance(value, bytes) else json.dumps(value).encode())


async def batches(stream: Any) -> None:
    """As the manual's chapter on batches."""
    async for batch in stream.take(10, within=0.5):
        for value in batch:
            await copy(value)


async def by_hand(stream: Any) -> None:
    """As the manual's chapter on acknowledging by hand."""
    events: AsyncIterable[Any] = stream.noack().events()
    async for event in events:
        await copy(event.value)
        await stream.ack(event)


WAYS = {"batches": batches, "by_hand": by_hand}
app.agent(webhooks, concurrency=int(os.environ.get("STOCK_CONCURRENCY", "1")))(WAYS.get(WAY, values))

if __name__ == "__main__":
    faust.Worker(app, loglevel="info", redirect_stdouts=False).execute_from_commandline()
