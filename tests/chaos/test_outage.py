"""A minute without Kafka, for every stage under traffic: what it costs, and what the log says of it."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from pipeline.demo.processes import Child, Fleet
from pipeline.dodo import samples
from pipeline.dodo.signature import sign
from pipeline.ingest import PATH
from pipeline.kafka.local.broker import LocalKafka, free_port
from pipeline.settings import PREFIX
from tests.asking import local_client

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.chaos,
    pytest.mark.skipif(not os.environ.get("CHAOS_SECONDS"), reason="long form: make chaos"),
]

LIVE = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OUTAGE_S = 60.0
MOST_PERCENT = 2.0
TRAFFIC_S = 5.0
LANES = 20
TOLD_ONCE = "A Kafka broker does not answer"


def processor_s(child: Child) -> float:
    """Processor seconds of a process since its start."""
    fields = Path(f"/proc/{child.process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def loud(child: Child, since: int) -> list[str]:
    """Warnings and errors of a process since its log had so many characters."""
    lines = child.log.read_text(encoding="utf-8")[since:].splitlines()
    return [line for line in lines if '"level": "warning"' in line or '"level": "error"' in line]


@pytest.mark.parametrize("how", ["stop", "kill", "pause"])
async def test_a_minute_without_kafka_is_quiet(how: str, tmp_path: Path, chain_settings: Any, environment: Any) -> None:
    """No stage uses more than 2 % of a core meanwhile; the log names the broker once; all are ready again after it."""
    with LocalKafka.start(tmp_path / "kafka") as broker, Fleet(tmp_path / "logs") as fleet:
        ports = {name: free_port() for name in ("sandbox", "sink", "transform", "ingest")}
        settings = await chain_settings(
            kafka_bootstrap_servers=broker.bootstrap_servers,
            dodo_webhook_secrets=LIVE,
            customerio_site_id="site",
            customerio_api_key="key",
            customerio_url=f"http://127.0.0.1:{ports['sandbox']}",
            log_format="json",
        )
        variables = environment(settings)
        children = {}
        for name, port in ports.items():
            arguments = (name, "--port", str(port)) if name == "sandbox" else (name,)
            child = fleet.start(name, *arguments, environment={**variables, f"{PREFIX}PORT": str(port)}, port=port)
            await fleet.ready(child, "/__sandbox/stats" if name == "sandbox" else "/ready")
            children[name] = child
        stages = {name: child for name, child in children.items() if name != "sandbox"}

        ending = asyncio.Event()
        body = samples.load("payment.succeeded")

        async def post(client: httpx.AsyncClient, lane: int) -> None:
            number = 0
            while not ending.is_set():
                signed = sign(LIVE, f"lane{lane}_{number}", int(time.time()), body)
                await client.post(f"{stages['ingest'].url}{PATH}", content=body, headers=signed)
                number += 1

        async with local_client(timeout=30) as client, asyncio.TaskGroup() as lanes:
            for lane in range(LANES):
                lanes.create_task(post(client, lane))
            await asyncio.sleep(TRAFFIC_S)
            said = {name: len(child.log.read_text(encoding="utf-8")) for name, child in stages.items()}
            await asyncio.to_thread(getattr(broker, how))
            used = {name: processor_s(child) for name, child in stages.items()}
            began = time.monotonic()
            await asyncio.sleep(TRAFFIC_S)
            ending.set()
        await asyncio.sleep(OUTAGE_S - (time.monotonic() - began))
        percent = {name: (processor_s(child) - used[name]) / OUTAGE_S * 100 for name, child in stages.items()}
        lines = {name: loud(child, said[name]) for name, child in stages.items()}
        print(f"{how}: % of a core", {name: round(share, 2) for name, share in percent.items()})  # noqa: T201
        print("warnings and errors", {name: len(told) for name, told in lines.items()})  # noqa: T201 - the result
        for name, told in lines.items():
            print(name, *told, sep="\n  ")  # noqa: T201
        if how == "pause":
            broker.resume()
        else:
            await asyncio.to_thread(broker.restart)
        for child in stages.values():
            await fleet.ready(child)
        assert max(percent.values()) <= MOST_PERCENT
        of_kafka = {name: [line for line in told if "ingest.journal" not in line] for name, told in lines.items()}
        # A frozen broker shows as a heartbeat without an answer first, and only then as a connection.
        assert {len(told) for told in of_kafka.values()} <= ({1, 2} if how == "pause" else {1})
        assert how == "pause" or all(TOLD_ONCE in line for told in of_kafka.values() for line in told)
