"""docs/incidents.md is what the commands say when each of its incidents is planted in a running chain."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import httpx
import pytest

from pipeline.customerio.workspace import resolve
from pipeline.errors import CredentialError
from pipeline.settings import Settings
from tests.docs.incidents import Incident, walk
from tests.docs.pages import DOCS
from tests.kafka.shared import SharedKafka

PAGE = (DOCS / "incidents.md").read_text(encoding="utf-8")
START = "PIPELINE_CUSTOMERIO_REGION=us dodo-cio sink"


def shown() -> list[tuple[str, str, str]]:
    """Each line of the page's blocks, with its incident and command."""
    found, incident, command, inside = [], "", "", False
    for line in PAGE.splitlines():
        if mark := re.fullmatch(r"<!-- incident: (\w+) -->", line):
            incident = mark[1]
        elif line.startswith("```"):
            inside = line == "```console"
        elif inside and line.startswith("$ "):
            command = line.removeprefix("$ ")
        elif inside:
            found.append((incident, command, line))
    return found


def plain(line: str) -> str:
    """Without what varies: numbers, and how many blanks."""
    return re.sub(r"[\d,.]*\d[\d,.]*", "#", " ".join(line.split()))


async def at_the_start() -> Incident:
    """What the sink says whose region is given and another than the workspace's."""
    settings = Settings.load(customerio_site_id="site", customerio_api_key="key", customerio_region="us")
    answer = httpx.MockTransport(lambda _: httpx.Response(200, content=b'{"region": "eu", "environment_id": 1}'))
    with pytest.raises(CredentialError) as error:
        await resolve(settings, transport=answer)
    return Incident({START: str(error.value)})


@pytest.mark.kafka
def test_the_page_is_what_is_said(kafka: SharedKafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each line of each block is among what the command above it prints, but for numbers and times."""
    monkeypatch.setenv("PIPELINE_KAFKA_BOOTSTRAP_SERVERS", kafka.bootstrap_servers)
    said = asyncio.run(walk(tmp_path))
    monkeypatch.delenv("PIPELINE_KAFKA_BOOTSTRAP_SERVERS")
    said["start"] = asyncio.run(at_the_start())
    lines = shown()
    assert {incident for incident, _, _ in lines} == set(said)
    assert len(lines) > 30
    missing = []
    for incident, command, line in lines:
        answers = [plain(one) for one in said[incident].said[command].splitlines()]
        begins = line.endswith("…")
        wanted = plain(line.removesuffix("…"))
        if not any(one.startswith(wanted) if begins else one == wanted for one in answers):
            missing.append((incident, command, line))
    assert missing == [], said
