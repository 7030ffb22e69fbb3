"""What the demo posts, and what it expects of a run that takes its time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from pipeline.demo import traffic
from pipeline.demo.expect import expect
from pipeline.demo.run import SEED
from pipeline.dodo.simulator import Shop
from pipeline.settings import Settings
from pipeline.transform.policy import Policy

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)


async def test_the_time_of_each_signature_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each delivery is signed when it is sent, and the sender says with which timestamp."""
    clock, posted = 1_790_000_000.0, dict[str, int]()

    def tick() -> float:
        nonlocal clock
        clock += 7
        return clock

    async def post(_client: object, _url: str, _body: bytes, headers: Mapping[str, str]) -> int:
        posted[headers["webhook-id"]] = int(headers["webhook-timestamp"])
        return 200

    monkeypatch.setattr(traffic, "time", SimpleNamespace(time=tick))
    monkeypatch.setattr(traffic, "_post", post)
    deliveries = [one for one in Shop(SEED, NOW).deliveries(60) if one.kind == "first"]
    sent = await traffic.send(
        "http://ingest", deliveries, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", on_answer=lambda: None
    )
    assert {one.webhook_id: sent.signed_s[place] for place, one in enumerate(deliveries)} == posted
    assert len(set(posted.values())) == len(deliveries)


def test_a_slow_run_is_expected_by_its_timestamps() -> None:
    """Of two states of a subscription the later delivery counts: minutes between them are another outcome."""
    policy = Policy.of(Settings.load())
    found = []
    for seconds in (0, 100):
        shop = Shop(SEED, NOW)
        deliveries = list(shop.deliveries(1_500))
        signed = [
            replace(one, timestamp=one.timestamp + seconds * place // len(deliveries))
            for place, one in enumerate(deliveries)
        ]
        found.append(expect(shop, signed, policy, state=True))
    at_once, slowly = found
    assert at_once.operations != slowly.operations
    assert at_once.event_ids == slowly.event_ids
