"""What the sink checks before it takes any record."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pipeline.customerio.sandbox import SandboxConfig
from pipeline.customerio.sandbox.server import SandboxServer
from pipeline.kafka.local.broker import free_port

pytestmark = pytest.mark.kafka


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"PIPELINE_CUSTOMERIO_API_KEY": ""}, "PIPELINE_CUSTOMERIO_API_KEY must be set"),
        ({"PIPELINE_CUSTOMERIO_API_KEY": "wrong"}, "Customer.io refused the credentials (401)"),
        ({"PIPELINE_DEAD_LETTERS_TOPIC": "nowhere"}, "topic nowhere does not exist"),
    ],
)
async def test_configuration_faults(make_stage: Any, change: dict[str, str], message: str) -> None:
    """A fault that a person must mend ends the start with exit code 2 and a message, without a traceback."""
    stage = await make_stage({"api_key": "key"})
    worker = stage.start(**change)
    assert await worker.ended() == 2
    assert message in worker.text
    assert "Traceback" not in worker.text


async def test_customerio_down_at_start(make_stage: Any, made: Any) -> None:
    """An outage at start is waited for, and /ready says so; a SIGTERM meanwhile is obeyed; then records flow."""
    port = free_port()
    stage = await make_stage(customerio_url=f"http://127.0.0.1:{port}")
    await stage.produce([made.event_record("cus_1", n) for n in range(10)])
    worker, impatient = stage.start(), stage.start()
    answer = await worker.answers("/ready", "the start waits for Customer.io")
    assert answer.status_code == 503
    assert (await worker.get("/live")).status_code == 200
    await impatient.answers("/ready", "the start waits for Customer.io")
    assert await impatient.stop() == 0
    async with SandboxServer(SandboxConfig(), port=port) as late:
        await stage.done()
        assert late.sandbox.stats()["events"] == 10
        async with asyncio.timeout(300):
            await worker.ready()
        assert await worker.stop() == 0
