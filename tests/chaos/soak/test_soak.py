"""The whole chain at half of its load, for hours: nothing that a process takes rises with the time."""

from __future__ import annotations

import asyncio
import base64
import os
import secrets
import time
from pathlib import Path

import orjson
import pytest

from pipeline.kafka.local.broker import LocalKafka
from pipeline.kafka.local.ports import free_port
from pipeline.kafka.producer.partitioner import murmur2
from tests.asking import local_client
from tests.bench.load import as_fast_as_it_goes, connections
from tests.bench.payments import Payments
from tests.chaos.replicas import Replicas
from tests.chaos.seen import caught_up
from tests.chaos.soak.load import Load
from tests.chaos.soak.report import Taken, figures, table
from tests.chaos.soak.sampling import sample
from tests.conftest import ChainSettings, environment_of

SECONDS = float(os.environ.get("SOAK_SECONDS") or 0)
CUSTOMERS = murmur2.cache_info().maxsize or 0
"""So many have paid before anything is measured: no bounded cache of a stage keeps more, and all are full. Else they
would grow for an hour and a half, and hide what has no bound."""

CONNECTIONS = 64
RUSH_S = 20.0
"""For so long as many as the ingest takes; half of the rate at which they were accepted is the load."""

PARTITIONS = 6
SAMPLES = 240
"""Of the whole run, but no more than one a second."""

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.chaos,
    pytest.mark.skipif(not SECONDS, reason="long form: make soak"),
    pytest.mark.timeout(SECONDS + 1800),
]


async def test_nothing_rises_with_the_time(chain_settings: ChainSettings, tmp_path: Path, seed: int) -> None:
    """Memory, descriptors, tasks, threads and the event loop's delay of every stage are flat behind the warm-up."""
    secret, site_id, api_key, port = (
        "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode(),
        "site",
        "key",
        free_port(),
    )
    with LocalKafka.start(tmp_path / "kafka", heap_mb=1024) as broker:
        settings = await chain_settings(
            partitions=PARTITIONS,
            kafka_bootstrap_servers=broker.bootstrap_servers,
            dodo_webhook_secrets=secret,
            customerio_site_id=site_id,
            customerio_api_key=api_key,
            customerio_url=f"http://127.0.0.1:{port}",
            customerio_requests_per_second=1000,
        )
        replicas = Replicas(
            environment_of(settings), tmp_path, site_id=site_id, api_key=api_key, sandbox_port=port, each=1
        )
        async with replicas, local_client(timeout=30) as http:
            ingest = replicas.of("ingest")[0].url
            payments, now = Payments(people=CUSTOMERS), int(time.time())
            async with connections(ingest, CONNECTIONS) as pool:
                requests = (payments.request(number, secret, now) for number in range(CUSTOMERS))
                assert set((await as_fast_as_it_goes(pool, requests, None)).statuses) == {200}
            await caught_up(settings, PARTITIONS)
            load = Load(f"{ingest}/webhooks/dodo", secret, seed)
            began = time.monotonic()
            rush = await load.post(RUSH_S, float("inf"))
            await caught_up(settings, PARTITIONS)
            per_second = rush / (time.monotonic() - began) / 2
            print(f"{per_second:.0f} webhooks a second for {SECONDS:.0f} s")  # noqa: T201 - the soak's result
            posting = asyncio.create_task(load.post(SECONDS, per_second))
            taken: list[Taken] = []
            began, pause_s = time.monotonic(), max(SECONDS / SAMPLES, 1.0)
            while not posting.done():
                for worker in replicas.workers:
                    values = await sample(worker, http)
                    taken.append(Taken(time.monotonic() - began, worker.stage, values))
                await asyncio.wait({posting}, timeout=pause_s)
            await posting
            await caught_up(settings, PARTITIONS)
    rows = figures(taken)
    print(table(rows))  # noqa: T201 - likewise
    keep({"seconds": SECONDS, "per_second": round(per_second), "rows": rows})
    assert not load.wrong
    assert not replicas.ended, "\n".join(map(str, replicas.ended))
    assert [row for row in rows if row["flat"] is False] == []


def keep(found: dict[str, object]) -> None:
    """Write the figures that docs/soak.md shows, where somebody asks for them."""
    if directory := os.environ.get("CHAOS_REPORT"):
        Path(directory).mkdir(parents=True, exist_ok=True)
        (Path(directory) / "soak.json").write_bytes(
            orjson.dumps(found, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
        )
