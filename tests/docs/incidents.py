"""The incidents of docs/incidents.md, planted in one running chain, and what the commands say of each.

`python -m tests.docs.incidents` prints all of it, to write the page from.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx

from pipeline.demo.chain import Chain
from pipeline.dodo import samples
from pipeline.dodo.samples.fresh import fresh
from pipeline.dodo.signature import sign
from pipeline.kafka.cluster.lag_reader import read_lag
from pipeline.settings import PREFIX
from tests import forked
from tests.asking import local_client

PATIENCE_S: Final = 120.0
DOCTOR: Final = "dodo-cio doctor --only customerio --only groups"
LAG: Final = "dodo-cio lag"
READY: Final = "curl -s localhost:8082/ready"
METRICS: Final = "curl -s localhost:8082/metrics | grep -E 'dodo_cio_(held|ready|live|requests_total)'"
NOTES: Final = "curl -s localhost:8081/metrics | grep late"
START: Final = "PIPELINE_CUSTOMERIO_API_KEY=of-another-workspace dodo-cio sink"

KEY: Final = [{"status": 401, "times": "always"}]
"""What Customer.io answers to a key that was withdrawn."""

REGION: Final = [
    {"match": {"path": "/api/v2/batch"}, "status": 301, "times": "always",
     "location": "https://track-eu.customer.io/api/v2/batch"},
    {"match": {"path": "/api/v1/accounts/region"}, "status": 200, "times": "always",
     "body": '{"url": "https://track-eu.customer.io", "region": "eu", "environment_id": 1}'},
]  # fmt: skip
"""What the US host answers where the workspace lives in the EU."""


OTHERS: Final = 3
"""Webhooks of other people before the one that is followed: what is refused of one person may be that one's fault."""


@dataclass
class Incident:
    """What was asked, and what was answered."""

    said: dict[str, str] = field(default_factory=dict)


@dataclass
class Walk:
    """A running chain, and those who look at it."""

    chain: Chain
    client: httpx.AsyncClient

    async def plant(self, steps: Sequence[Mapping[str, Any]]) -> None:
        """Let Customer.io answer so from now on; nothing of an earlier script is left."""
        faults = f"{self.chain.addresses.sandbox}/__sandbox/faults"
        (await self.client.delete(faults)).raise_for_status()
        if steps:
            (await self.client.post(faults, json=list(steps))).raise_for_status()

    async def post(self, webhook_id: str, type_: str, age: timedelta = timedelta(0)) -> None:
        """A genuine webhook of somebody's about something that is so old."""
        found = json.loads(fresh(samples.load(type_), datetime.now(UTC) - age, webhook_id))
        found["data"]["customer"] |= {"customer_id": f"cus_{webhook_id}", "email": f"{webhook_id}@example.com"}
        body = json.dumps(found).encode()
        headers = sign(self.chain.secret, webhook_id, int(time.time()), body)
        answer = await self.client.post(f"{self.chain.addresses.ingest}/webhooks/dodo", content=body, headers=headers)
        assert answer.status_code == 200

    async def until(self, condition: Callable[[], Awaitable[bool]]) -> None:
        """Wait for it."""
        async with asyncio.timeout(PATIENCE_S):
            while not await condition():  # noqa: ASYNC110 - each look is a question
                await asyncio.sleep(0.05)

    async def is_held(self, cause: str) -> bool:
        """Whether the sink holds everybody's records back for this: it may hold one person's first, in doubt."""
        text = (await self.client.get(f"{self.chain.addresses.sink}/metrics")).text
        ready = await self.client.get(f"{self.chain.addresses.sink}/ready")
        return f'dodo_cio_held{{cause="{cause}"}} 1.0' in text and "everything waits" in ready.text

    async def is_drained(self) -> bool:
        """Whether nothing waits."""
        return not any(row.records != 0 for row in await read_lag(self.chain.settings))

    async def is_mapped(self) -> bool:
        """Whether the transform has come to all webhooks: a hold that is everybody's already says nothing of that."""
        rows = await read_lag(self.chain.settings)
        return not any(row.records != 0 for row in rows if row.group == self.chain.settings.transform_group)

    async def ask(self, *commands: str) -> Incident:
        """All of it at once."""
        answers = await asyncio.gather(*(self._said(command) for command in commands))
        return Incident(dict(zip(commands, map(self._plain, answers), strict=True)))

    async def _said(self, command: str) -> str:
        if command.startswith("curl"):
            stage = "sink" if "8082" in command else "transform"
            path = command.partition("808")[2].split()[0][1:]
            text = (await self.client.get(f"{getattr(self.chain.addresses, stage)}{path}")).text
            wanted = re.search(r"grep (?:-E )?'?([^']+)", command)
            lines = text.splitlines()
            return "\n".join(one for one in lines if wanted is None or re.search(f"^(?!#).*{wanted[1]}", one))
        words = command.split()
        given = dict(word.split("=", 1) for word in words if "=" in word)
        arguments = [word for word in words[1 if not given else 2 :] if word != "dodo-cio"]
        variables = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        variables |= {**self.chain.exports, f"{PREFIX}PORT": "0", **given, "COLUMNS": "100"}
        words = [*forked.PROGRAM, *arguments]
        return (await asyncio.to_thread(forked.run, words, env=variables, stderr=subprocess.STDOUT)).stdout

    def _plain(self, text: str) -> str:
        """With the names and addresses that an installation has by default."""
        addresses = self.chain.addresses
        for address, name in ((addresses.sandbox, "https://track.customer.io"), (addresses.kafka, "kafka-1:9092")):
            text = text.replace(address, name)
        return re.sub(r"demo-[0-9a-f]{8}\.", "", text)


async def walk(directory: Path) -> dict[str, Incident]:
    """Plant one after the other, and look at each while it lasts."""
    async with Chain(directory, partitions=1, say=lambda _: None) as chain, local_client() as client:
        one = Walk(chain, client)
        found: dict[str, Incident] = {}
        await one.post("msg_late", "subscription.cancelled", timedelta(days=4))
        await one.until(one.is_drained)
        found["late"] = await one.ask("dodo-cio trace --webhook-id msg_late", DOCTOR, LAG, NOTES)
        for name, steps, type_, more in (
            ("region", REGION, "refund.succeeded", ()),
            ("credentials", KEY, "payment.succeeded", (START,)),
        ):
            await one.plant(steps)
            for number in range(OTHERS):
                await one.post(f"msg_{name}_{number}", type_)
            await one.post(f"msg_{name}", type_)
            await one.until(partial(one.is_held, name))
            await one.until(one.is_mapped)
            found[name] = await one.ask(f"dodo-cio trace --webhook-id msg_{name}", DOCTOR, LAG, READY, METRICS, *more)
        return found


def main() -> None:
    """Print what was said."""
    with tempfile.TemporaryDirectory(prefix="incidents-") as directory:
        for name, incident in asyncio.run(walk(Path(directory))).items():
            print(f"## {name}")  # noqa: T201 - that is its work
            for command, said in incident.said.items():
                print(f"\n```console\n$ {command}\n{said.rstrip()}\n```")  # noqa: T201 - the same


if __name__ == "__main__":
    main()
