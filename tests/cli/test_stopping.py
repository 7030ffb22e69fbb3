"""Stages that are told to end while Kafka is away, as processes."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from pipeline.customerio.sandbox import SandboxConfig
from pipeline.customerio.sandbox.server import SandboxServer
from pipeline.demo.processes import Child, Fleet
from pipeline.kafka.local.broker import LocalKafka, free_port
from pipeline.settings import PREFIX
from tests.cli.test_signals import COMPLAINTS, credentials

STAGES = ("ingest", "transform", "sink")
PATIENCE_S = 300.0
LIMIT_S = 30.0
"""The promise, with much room for three at once: it takes up to 4 s. Before 30 s Kubernetes kills nobody."""

AWAY_S = 3.0
"""Long enough for clients to have noticed, too short for the group to have given anything away."""


async def told_to_end(child: Child) -> float:
    """How long the process takes to end after SIGTERM."""
    began = time.monotonic()
    child.process.terminate()
    async with asyncio.timeout(PATIENCE_S):
        await asyncio.to_thread(child.process.wait)
    return time.monotonic() - began


@pytest.mark.kafka
@pytest.mark.parametrize("how", ["kill", "pause"])
async def test_a_stop_without_kafka_is_quiet(how: str, tmp_path: Path, chain_settings: Any, environment: Any) -> None:
    """With nothing unfinished each stage ends with exit code 0 and no traceback; none waits for the broker.

    A worker that does would end after 40 s, beyond the patience of whoever stops it.
    """
    with LocalKafka.start(tmp_path / "kafka") as broker, Fleet(tmp_path / "logs") as fleet:
        async with SandboxServer(SandboxConfig()) as sandbox:
            settings = await chain_settings(
                kafka_bootstrap_servers=broker.bootstrap_servers, **credentials(sandbox.url), log_format="json"
            )
            children = []
            for name in STAGES:
                port = free_port()
                variables = {**environment(settings), f"{PREFIX}PORT": str(port)}
                children.append(fleet.start(name, name, environment=variables, port=port))
            await asyncio.gather(*map(fleet.ready, children))
            await asyncio.to_thread(getattr(broker, how))
            try:
                await asyncio.sleep(AWAY_S)
                took_s = await asyncio.gather(*map(told_to_end, children))
            finally:
                if how == "pause":
                    broker.resume()
        assert max(took_s) < LIMIT_S, dict(zip(STAGES, took_s, strict=True))
        said = {child.name: child.log.read_text(encoding="utf-8") for child in children}
        assert {child.name: child.process.returncode for child in children} == dict.fromkeys(STAGES, 0)
        assert {(name, sign) for name, text in said.items() for sign in COMPLAINTS if sign in text} == set()
