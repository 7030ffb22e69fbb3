"""The sink's parts, wired to its watch."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.kafka.cluster.rights import Operation, rights_of
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


@pytest.mark.parametrize(
    ("given", "told"), [({}, True), ({"commands": False}, False), ({"state": False}, False)]
)  # fmt: skip
def test_a_command_that_nobody_would_carry_out(given: dict[str, Any], told: bool, virtual: Virtual) -> None:
    """Without commands an `untold` would be a second dead letter of one refusal: none is written."""

    async def scenario() -> bool:
        settings = Settings.load(customerio_site_id="site", customerio_api_key="key", **given)
        writes = {right.name for right in rights_of("sink", settings) if right.operation is Operation.WRITE}
        assert (settings.webhooks_topic in writes) is told
        return SinkProcess(settings)._unsaying is not None

    assert virtual(scenario()) is told
