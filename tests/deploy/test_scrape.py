"""What a real Prometheus sees of the demo's three stages under traffic."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from pipeline.demo.chain import Chain
from pipeline.demo.run import run
from pipeline.kafka.local.broker import free_port
from tests.asking import local_client
from tests.deploy.monitoring import FILES, STANDARD, filled, panels, queries, selectors
from tests.kafka.shared import SharedKafka

pytestmark = pytest.mark.kafka

PATIENCE_S = 120.0
"""For the slowest: a recording rule over a series that is scraped each second, evaluated each 15 s."""

prometheus = pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="prometheus is missing (Debian: apt-get install prometheus)"
)


class Quiet:
    """Progress that nobody watches."""

    def sent(self, count: int) -> None:
        """Nothing to show."""

    def delivered(self, count: int) -> None:
        """Nothing to show."""


@dataclass
class Seen:
    """Each stage's `/metrics` after the traffic, and what Prometheus made of it: series by query, alerts, exemplars."""

    scrapes: Mapping[str, str]
    panels: Mapping[str, list[int]] | None = None
    firing: frozenset[str] = frozenset()
    exemplars: int = 0


@pytest.fixture(scope="module")
def seen(kafka: SharedKafka, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """One run of the demo, watched."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIPELINE_KAFKA_BOOTSTRAP_SERVERS", kafka.bootstrap_servers)
        return asyncio.run(_watched(tmp_path_factory.mktemp("scrape")))


async def _watched(directory: Path) -> Seen:
    async with Chain(directory, partitions=3, say=lambda _: None) as chain, local_client() as client:
        at = chain.addresses
        stages = {"ingest": at.probes, "transform": at.transform, "sink": at.sink}
        with _prometheus(directory, stages) as address:
            if address is not None:
                await _until(client, f"{address}/-/ready")
                await _scraped(client, address)
            report = await run(chain, 1_500, lambda _: Quiet())
            assert report.ok
            found = Seen({name: (await client.get(f"{url}/metrics")).text for name, url in stages.items()})
            if address is not None:
                found.panels = await _panels(client, address)
                found.firing = await _firing(client, address)
                found.exemplars = await _exemplars(client, address)
    return found


@contextmanager
def _prometheus(directory: Path, stages: Mapping[str, str]) -> Iterator[str | None]:
    """Prometheus with our rules, scraping each second; None where it is not installed."""
    if shutil.which("prometheus") is None:
        yield None
        return
    config = yaml.safe_load((FILES / "prometheus.yml").read_text(encoding="utf-8"))
    config["global"]["scrape_interval"] = "1s"
    config["rule_files"] = [str(FILES / "alerts.yml")]
    for job in config["scrape_configs"]:
        del job["dns_sd_configs"]
        stage = job["job_name"].removeprefix("dodo-cio-")
        job["static_configs"] = [{"targets": [stages[stage].removeprefix("http://")]}]
    (directory / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    port = free_port()
    with (directory / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            [
                "prometheus", f"--config.file={directory}/prometheus.yml", f"--storage.tsdb.path={directory}/tsdb",
                f"--web.listen-address=127.0.0.1:{port}", "--enable-feature=exemplar-storage",
            ],
            stdout=log, stderr=log,
        )  # fmt: skip
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(30)


async def _until(client: httpx.AsyncClient, url: str) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                if (await client.get(url)).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.1)


async def _scraped(client: httpx.AsyncClient, address: str) -> None:
    """The first scrapes come before the traffic, as they do where nobody hurries."""
    async with asyncio.timeout(PATIENCE_S):
        while len(await _ask(client, address, "up == 1")) < 3:  # noqa: ASYNC110 - a query is a question
            await asyncio.sleep(0.1)


async def _ask(client: httpx.AsyncClient, address: str, query: str) -> list[dict[str, Any]]:
    answer = (await client.get(f"{address}/api/v1/query", params={"query": query})).json()
    assert answer["status"] == "success", answer
    result: list[dict[str, Any]] = answer["data"]["result"]
    return result


async def _panels(client: httpx.AsyncClient, address: str) -> dict[str, list[int]]:
    """How many series each query of each panel finds, once all find some or patience has ended."""
    found: dict[str, list[int]] = {}
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not found or not all(min(counts) for counts in found.values()):
                for panel in panels():
                    asked = [await _ask(client, address, filled(target["expr"])) for target in panel["targets"]]
                    found[panel["title"]] = [sum(one["value"][1] != "NaN" for one in series) for series in asked]
                await asyncio.sleep(0.5)
    except TimeoutError:
        pass
    return found


async def _firing(client: httpx.AsyncClient, address: str) -> frozenset[str]:
    """The alerts that fire, once one does: each group of rules is evaluated every 15 s, at a moment of its own."""
    found: list[dict[str, Any]] = []
    with suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE_S):
            while not (found := await _ask(client, address, 'ALERTS{alertstate="firing"}')):  # noqa: ASYNC110 - a query
                await asyncio.sleep(0.5)
    return frozenset(one["metric"]["alertname"] for one in found)


async def _exemplars(client: httpx.AsyncClient, address: str) -> int:
    query = "dodo_cio_webhook_to_accepted_seconds_bucket"
    span = {"query": query, "start": "0", "end": "4102444800"}
    answer = (await client.get(f"{address}/api/v1/query_exemplars", params=span)).json()
    return sum("webhook_id" in one["labels"] for series in answer["data"] for one in series["exemplars"])


def test_every_query_names_what_is_scraped(seen: Seen) -> None:
    """Each series of the dashboard is in the text that one of the three stages answered."""
    scraped = {name for text in seen.scrapes.values() for name in re.findall(r"^([a-z_0-9]+)[{ ]", text, re.MULTILINE)}
    for query in queries():
        for name, _ in selectors(query):
            assert name in scraped or name in STANDARD or ":" in name, (name, query)


def test_the_figures_are_those_of_the_traffic(seen: Seen) -> None:
    """When all is delivered no partition is late, and as many latencies were counted as operations accepted."""

    def values(stage: str, name: str) -> list[float]:
        return [
            float(value) for value in re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)$", seen.scrapes[stage], re.MULTILINE)
        ]

    accepted = sum(values("sink", "dodo_cio_operations_accepted_total"))
    assert accepted > 1000
    for name in ("webhook", "operation"):
        assert values("sink", f"dodo_cio_{name}_to_accepted_seconds_count") == [accepted]
    for stage in ("transform", "sink"):
        lag = values(stage, "dodo_cio_partition_lag_records")
        assert len(lag) == 3
        assert sum(values(stage, "dodo_cio_partition_lost_records")) == 0
    letters = sum(values("ingest", "dodo_cio_dead_letters_total"))
    assert letters == sum(values("ingest", "dodo_cio_ingest_dead_letters_total")) > 0
    facts = values("transform", "dodo_cio_mirror_facts")
    assert len(facts) == 3
    assert min(facts) > 1


@prometheus
def test_no_panel_is_empty(seen: Seen) -> None:
    """A Prometheus with our rules that scraped the stages answers every query of the dashboard with series."""
    assert seen.panels is not None
    assert {title: counts for title, counts in seen.panels.items() if not all(counts)} == {}


@prometheus
def test_only_the_dead_letters_of_the_traffic_raise_an_alert(seen: Seen) -> None:
    """The demo sends some on purpose; nothing else is wrong with it."""
    assert seen.firing == {"DodoCioDeadLetters"}


@prometheus
def test_slow_ones_can_be_followed(seen: Seen) -> None:
    """Prometheus has kept examples with the ids of webhooks."""
    assert seen.exemplars > 0
