"""The sink's parts, wired to its watch."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.settings import Settings
from pipeline.sink.worker import SinkProcess

Virtual = Callable[[Any], Any]


def test_probes_hear_what_holds_the_sink(virtual: Virtual, tmp_path: Path) -> None:
    """What the gate says is what the watch over the process is told."""

    async def scenario() -> list[str | None]:
        settings = Settings.load(customerio_site_id="site", customerio_api_key="key", data_dir=tmp_path)
        process = SinkProcess(settings)
        before = process._watch.holding()
        process.sink.gate.wait(60.0, "429 Too Many Requests")
        await asyncio.sleep(15)
        return [before, process._watch.holding()]

    assert virtual(scenario()) == [None, "Customer.io asked to wait (429 Too Many Requests) for another 45 s"]
