"""A preview begins with what a real worker knew before the webhooks that are read."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiokafka import AIOKafkaProducer
from typer.testing import CliRunner

from pipeline.cli import build
from pipeline.dodo import samples
from pipeline.preview.past import Footprint, Past
from pipeline.preview.worlds import Both, Facts
from pipeline.settings import Settings
from pipeline.transform.customers.schema import CUSTOMERS
from pipeline.transform.policy import Policy
from pipeline.transform.shaping.differences import differences
from tests.preview.test_worlds import payment, policy
from tests.transform.customers.conftest import Fleet, records_of

BEFORE, SPAN = 4, 2
MINOR = 2_000
VIP = f"""rules:
- match: {{event: payment_completed}}
  when: profile.payment_count >= {BEFORE + 1} && profile.total_spent_minor >= {(BEFORE + 1) * MINOR}
  rename: VIP Paid
"""


def body(number: int, customer: str) -> bytes:
    """One payment of a customer."""
    webhook = orjson.loads(samples.load("payment.succeeded"))
    webhook["data"] |= {
        "payment_id": f"pay_{customer}_{number}", "currency": "USD", "total_amount": MINOR, "tax": 0,
        "settlement_amount": MINOR, "settlement_currency": "USD", "settlement_tax": 0, "refunds": [],
    }  # fmt: skip
    webhook["data"]["customer"] |= {"customer_id": f"cus_{customer}", "email": f"{customer}@example.com"}
    return orjson.dumps(webhook)


async def _write(settings: Settings, customers: dict[str, range]) -> None:
    async with AIOKafkaProducer(bootstrap_servers=settings.kafka_bootstrap_servers) as producer:
        for customer, numbers in customers.items():
            for number in numbers:
                headers = [("webhook-id", f"msg_{customer}_{number}".encode())]
                value, key = body(number, customer), f"cus_{customer}".encode()
                await producer.send_and_wait(settings.webhooks_topic, value, key, headers=headers)


async def _lived_through(settings: Settings, environ: dict[str, str], directory: Path) -> int:
    """A real worker took the past and the span, one after the other; how many records it wrote of customers."""
    fleet = Fleet(settings, environ, directory)
    try:
        worker = fleet.start()
        await worker.says('"Partitions assigned"')
        await _write(settings, {"regular": range(BEFORE)})
        await _write(settings, {"regular": range(BEFORE, BEFORE + SPAN), "newcomer": range(1)})
        await fleet.caught_up()
    finally:
        fleet.end()
    return await _facts_written(settings)


async def _facts_written(settings: Settings) -> int:
    return len(await records_of(settings, settings.customers_topic))


@pytest.mark.kafka
def test_totals_are_those_of_a_lifetime(
    chain_settings: Callable[..., Awaitable[Settings]],
    environment: Callable[[Settings], dict[str, str]],
    tmp_path: Path,
) -> None:
    """A rule about a lifetime total holds in the span as it will live, though every event of it was told."""

    async def lived_through() -> tuple[Settings, int]:
        settings = await chain_settings(partitions=1, person_id="customer_id")
        return settings, await _lived_through(settings, environment(settings), tmp_path)

    settings, written = asyncio.run(lived_through())
    environ = environment(settings)
    rules = tmp_path / "vip.yaml"
    rules.write_text(VIP)

    def previewed(*arguments: str) -> dict[str, Any]:
        command = ["preview", "--rules", str(rules), "--last", str(SPAN + 1), "--json", *arguments]
        result = CliRunner().invoke(build(), command, env=environ)
        assert result.exit_code in {0, 3}, (result.output, result.exception)
        found: dict[str, Any] = json.loads(result.stdout)
        assert found["records"]["read"] == SPAN + 1
        return found

    known = previewed()
    assert [(one["kind"], one["becomes"], one["count"]) for one in known["changes"]] == [
        ("event-renamed", "VIP Paid", SPAN)
    ]
    assert known["state"]["customers"] == 1, "the newcomer has no past"
    assert known["state"]["facts"] >= BEFORE
    empty = previewed("--empty-state")
    assert empty["changes"] == []
    assert empty["state"] == {"known": True, "customers": 0, "facts": 0, "complete": True, "begun_anew": 0}
    assert asyncio.run(_facts_written(settings)) == written, "the facts are read, never written"


def test_what_the_span_tells_is_no_past(tmp_path: Path) -> None:
    """Of the facts of now those are left out that the span writes, so that both sides tell it once more."""
    live, footprint = Facts(), Footprint(Policy())
    both = Both(Policy(), Policy(), state=lambda _: live)
    for number in range(4):
        both.decide(payment(number))
    span = [payment(number) for number in (2, 3)]
    for record in span:
        footprint.add(record)
    values = dict(live.scan(b""))
    past = Past({key: value for key, value in values.items() if key not in footprint.keys})
    assert 0 < len(past.values) < len(values)
    renamed = policy(tmp_path, "rules:\n- match: {event: payment_completed}\n  rename: Order Paid\n")
    for state, told in ((past, 2), (Past(values), 0)):
        both = Both(Policy(), renamed, state=state.store)
        kinds = [one.kind for record in span for one in differences(*both.decide(record)[1:])]
        assert kinds == ["event-renamed"] * told


def test_memory_of_the_past_is_bounded() -> None:
    """Whose past is not looked up is said, and nothing of theirs is kept."""
    footprint = Footprint(Policy(), most_groups=3)
    for number in range(5):
        footprint.add(payment(number, customer=f"cus_{number}"))
    assert len(footprint.groups) == 3
    assert {CUSTOMERS.group_of(key) for key in footprint.keys} == footprint.groups
    assert not footprint.complete
    again = Footprint(Policy(), most_groups=3)
    again.add(payment(1))
    assert again.complete
