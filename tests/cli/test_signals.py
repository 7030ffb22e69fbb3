"""Stages that are told to end at any moment of their start, as processes."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from pipeline.customerio.sandbox import SandboxConfig
from pipeline.customerio.sandbox.server import SandboxServer
from pipeline.kafka.local.broker import free_port
from pipeline.settings import Settings
from tests.listening import listening

LONG = bool(os.environ.get("CHAOS_SECONDS"))
OURS = (sys.executable, "-m", "pipeline")
FAUST = (sys.executable, "-m", "faust", "-A")
STAGES = {
    "transform": (*OURS, "transform"),
    "sink": (*OURS, "sink"),
    "ingest": (*OURS, "ingest"),
    "Faust's sink": (*FAUST, "pipeline.sink.app", "worker", "--without-web"),
}
NUMBERS = (signal.SIGTERM, signal.SIGINT, signal.SIGTERM)
AT_ONCE = 3
UNTIL_S = 3.0
"""From the import of the command line until records flow, on a machine with something else to do."""

PATIENCE_S = 300.0
COMPLAINTS = ("Traceback", "Unclosed", "never awaited", "was destroyed", "Exception ignored", "did not stop in time")
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

ChainSettings = Callable[..., Awaitable[Settings]]
Environment = Callable[[Settings], dict[str, str]]


class Child:
    """A stage in a process of its own."""

    def __init__(self, command: Sequence[str], environ: dict[str, str], log: Path) -> None:
        self._log = log
        with log.open("wb") as out:
            self.process = subprocess.Popen(command, env=environ, stdout=out, stderr=out, cwd=log.parent)

    @property
    def said(self) -> str:
        """Everything that it wrote."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def catches(self, number: signal.Signals) -> bool:
        """Whether a handler of its own stands."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        caught = next((line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:")), "0")
        return bool(int(caught, 16) >> number - 1 & 1)

    async def told_to_end(self, number: signal.Signals, after_s: float) -> int:
        """Its exit code, after a signal so many seconds after the moment from which it can catch one."""
        async with asyncio.timeout(PATIENCE_S):
            # Until Python itself has started, and Faust its imports, the system's default holds: no code of ours ran.
            while self.process.poll() is None and not self.catches(signal.SIGTERM):  # noqa: ASYNC110 - no event says so
                await asyncio.sleep(0.001)
            await asyncio.sleep(after_s)
            self.process.send_signal(number)
            return await asyncio.to_thread(self.process.wait)


async def complaints(
    environ: dict[str, str], directory: Path, moments: int, *, stages: Sequence[str] = tuple(STAGES), excuse: str = ""
) -> list[str]:
    """Start processes, each to be ended a little later in its start than the one before; what was no quiet end with 0.

    One that ended by itself for the reason `excuse` before it was told to is no complaint.
    """
    moments = 25 if LONG else moments
    room = asyncio.Semaphore(AT_ONCE)

    async def one(index: int) -> str | None:
        stage, number = stages[index % len(stages)], NUMBERS[index // len(stages) % len(NUMBERS)]
        after_s = UNTIL_S * index / (moments - 1)
        async with room:
            child = Child(STAGES[stage], environ, directory / f"{index}.log")
            try:
                code = await child.told_to_end(number, after_s)
            finally:
                child.process.kill()
                child.process.wait()
        heard = [sign for sign in COMPLAINTS if sign in child.said]
        if not heard and (code == 0 or (code == 1 and excuse and excuse in child.said)):
            return None
        return f"{stage}, {number.name} after {after_s:.3f} s: exit code {code}, {heard}\n{child.said}"

    return [complaint for complaint in await asyncio.gather(*map(one, range(moments))) if complaint]


@asynccontextmanager
async def silence() -> AsyncIterator[str]:
    """The address of a broker that takes connections and says nothing."""

    async def take(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async with listening(take) as port:
        yield f"127.0.0.1:{port}"


def credentials(url: str) -> dict[str, str]:
    """What the stages need besides a broker."""
    return {
        "customerio_url": url,
        "customerio_site_id": "site",
        "customerio_api_key": "key",
        "dodo_webhook_secrets": SECRET,
    }


@pytest.mark.kafka
async def test_beside_a_broker(chain_settings: ChainSettings, environment: Environment, tmp_path: Path) -> None:
    """From the first import until records flow a signal is a quiet end with exit code 0."""
    async with SandboxServer(SandboxConfig()) as sandbox:
        settings = await chain_settings(**credentials(sandbox.url))
        assert await complaints(environment(settings), tmp_path, 12) == []


async def test_beside_a_silent_broker(environment: Environment, tmp_path: Path) -> None:
    """So it is while the checks of the start wait for an answer in vain, until the stage gives up by itself."""
    async with silence() as address:
        environ = environment(alone(address, tmp_path))
        assert await complaints(environ, tmp_path, 8, excuse="no Kafka broker could be used") == []


async def test_without_a_broker(environment: Environment, tmp_path: Path) -> None:
    """So it is while no broker can be reached, until the stage gives up by itself."""
    environ = environment(alone(f"127.0.0.1:{free_port()}", tmp_path))
    assert await complaints(environ, tmp_path, 8, excuse="no Kafka broker could be used") == []


@pytest.mark.kafka
async def test_beside_an_api_that_is_away(
    chain_settings: ChainSettings, environment: Environment, tmp_path: Path
) -> None:
    """So it is while the sink waits for Customer.io."""
    settings = await chain_settings(**credentials(f"http://127.0.0.1:{free_port()}"))
    assert await complaints(environment(settings), tmp_path, 6, stages=("sink", "Faust's sink")) == []


def alone(broker: str, directory: Path) -> Settings:
    """Settings for stages that see nothing but this address of a broker."""
    return Settings.load(
        kafka_bootstrap_servers=broker,
        host="127.0.0.1",
        port=0,
        data_dir=directory / "data",
        **credentials("http://127.0.0.1:1"),
    )
