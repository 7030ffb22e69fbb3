"""A profile that Customer.io refused goes out with the customer's next webhook: transform, sink and topics are real."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import orjson
import pytest

from pipeline.customerio.sandbox import SandboxConfig
from pipeline.customerio.sandbox.faults import Match, Step
from pipeline.customerio.sandbox.server import SandboxServer
from pipeline.demo.processes import Fleet
from pipeline.dodo import samples
from pipeline.kafka.local.broker import free_port
from pipeline.kafka.records import OutRecord, text_header
from pipeline.settings import PREFIX, Settings
from tests.admin import until_done
from tests.cli.test_signals import credentials
from tests.transform.test_worker import produce, read_all

pytestmark = pytest.mark.kafka

BODY: Final = samples.load("payment.succeeded")
CUSTOMER: Final = orjson.loads(BODY)["data"]["customer"]
NEIGHBOUR: Final = "cus_0"
STAGES: Final = ("transform", "sink")


def told(number: int, customer_id: str = CUSTOMER["customer_id"]) -> OutRecord:
    """The same payment, which changes nothing that is known, in one more delivery."""
    headers = (("webhook-id", b"msg_%d" % number), ("webhook-timestamp", b"%d" % time.time()))
    body = BODY.replace(CUSTOMER["customer_id"].encode(), customer_id.encode())
    return OutRecord(customer_id.encode(), body, headers)


async def test_a_refused_profile_is_sent_again(
    chain_settings: Callable[..., Awaitable[Settings]],
    environment: Callable[[Settings], dict[str, str]],
    tmp_path: Path,
) -> None:
    """While all of a person's is refused they are not there; once it is taken the next webhook brings them, once."""
    refuses = Step(match=Match(person=CUSTOMER["customer_id"]), refuse_items="matched", times="always")
    async with SandboxServer(SandboxConfig(faults=(refuses,))) as sandbox:

        def people() -> list[str]:
            return sorted(person.id or "" for person in sandbox.sandbox.workspace.people)

        settings = await chain_settings(partitions=1, **credentials(sandbox.url), data_dir=tmp_path / "data")

        async def done() -> None:
            """Both stages have done what there is, and what followed from it."""
            for _ in range(2):
                await until_done(settings, settings.transform_group, settings.webhooks_topic)
                await until_done(settings, settings.sink_group, settings.operations_topic)

        async def identifies() -> int:
            """How many of the customer lie in the operations topic."""
            operations = [orjson.loads(one.value or b"") for one in await read_all(settings, settings.operations_topic)]
            whose = [one["identifiers"]["id"] for one in operations if one["action"] == "identify"]
            return whose.count(CUSTOMER["customer_id"])

        with Fleet(tmp_path / "logs") as fleet:
            ports = {stage: free_port() for stage in STAGES}
            children = [
                fleet.start(
                    stage, stage, environment={**environment(settings), f"{PREFIX}PORT": str(ports[stage])},
                    port=ports[stage],
                )
                for stage in STAGES
            ]  # fmt: skip
            await asyncio.gather(*map(fleet.ready, children))
            # Who is taken shows that it is not all of Customer.io that refuses.
            await produce(settings, [told(0), told(1, NEIGHBOUR)])
            await done()
            assert (people(), await identifies()) == ([NEIGHBOUR], 1)
            (*_, unsaid) = await read_all(settings, settings.webhooks_topic)
            assert text_header(unsaid.headers, "dodo-command") == "untold"

            sandbox.sandbox.script.clear()
            await produce(settings, [told(2)])
            await done()
            assert (people(), await identifies()) == (sorted([NEIGHBOUR, CUSTOMER["customer_id"]]), 2)
            await produce(settings, [told(3)])
            await done()
            assert await identifies() == 2
            assert [child.process.poll() for child in children] == [None, None]
