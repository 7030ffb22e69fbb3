"""Look-ups of customers at Dodo, bounded whatever the API does."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import structlog
from pydantic import SecretStr

from pipeline.dodo.api import DodoApi, RateLimit
from pipeline.dodo.api.client import Patience
from pipeline.errors import CredentialError, DeliveryError, SettingsError
from pipeline.settings import Settings
from pipeline.transform.resolver import AWAY_S, KNOWN_S, REFUSED_S, REMEMBERED, UNKNOWN_S, Resolver
from tests.dodo.stand_in import LIVE_KEY, Account, error, serving

ANN = {"customer_id": "cus_1", "email": "ann@example.com"}


class Dodo:
    """An API that answers as a test wants, and remembers who was asked for."""

    def __init__(self) -> None:
        self.customers: dict[str, dict[str, Any]] = {"cus_1": ANN}
        self.fault: Exception | None = None
        self.gate: asyncio.Event | None = None
        self.asked: list[str] = []

    async def customer(self, customer_id: str) -> dict[str, Any] | None:
        """As the API."""
        self.asked.append(customer_id)
        if self.gate is not None:
            await self.gate.wait()
        if self.fault is not None:
            raise self.fault
        return self.customers.get(customer_id)

    async def aclose(self) -> None:
        """Nothing to close."""


class Clock:
    """Time that a test moves."""

    now_s = 1_000.0

    def __call__(self) -> float:
        """Seconds."""
        return self.now_s


@pytest.fixture
def dodo() -> Dodo:
    """One customer."""
    return Dodo()


@pytest.fixture
def clock() -> Clock:
    """Standing still."""
    return Clock()


async def test_asked_once_an_hour(dodo: Dodo, clock: Clock) -> None:
    """A known customer is asked for once, and again when the answer is old."""
    resolver = Resolver(dodo, clock=clock)
    assert [await resolver.contact("cus_1") for _ in range(3)] == [ANN] * 3
    assert dodo.asked == ["cus_1"]
    clock.now_s += KNOWN_S
    assert await resolver.contact("cus_1") == ANN
    assert dodo.asked == ["cus_1"] * 2


async def test_unknown_customers_are_remembered_shortly(dodo: Dodo, clock: Clock) -> None:
    """That Dodo does not know a customer holds for minutes; then it may."""
    resolver = Resolver(dodo, clock=clock)
    assert [await resolver.contact("cus_2") for _ in range(3)] == [None] * 3
    assert dodo.asked == ["cus_2"]
    clock.now_s += UNKNOWN_S
    dodo.customers["cus_2"] = {"customer_id": "cus_2"}
    assert await resolver.contact("cus_2") == {"customer_id": "cus_2"}


async def test_one_warning_an_outage(dodo: Dodo, clock: Clock) -> None:
    """While the API is away customers are None, few are asked for, and it is said once; then it works again."""
    resolver = Resolver(dodo, clock=clock)
    dodo.fault = DeliveryError("no answer")
    with structlog.testing.capture_logs() as said:
        for _ in range(20):
            assert await resolver.contact("cus_1") is None
        assert len(dodo.asked) == 1
        clock.now_s += AWAY_S
        assert await resolver.contact("cus_1") is None
        assert len(dodo.asked) == 2
        dodo.fault = None
        clock.now_s += AWAY_S
        assert await resolver.contact("cus_1") == ANN
    assert [entry["log_level"] for entry in said] == ["warning", "info"]


async def test_refused_key(dodo: Dodo, clock: Clock) -> None:
    """A wrong key is an error in the log, at long intervals, and never the flow's trouble."""
    resolver = Resolver(dodo, clock=clock)
    dodo.fault = CredentialError("refused")
    with structlog.testing.capture_logs() as said:
        for _ in range(20):
            assert await resolver.contact("cus_1") is None
            clock.now_s += 1
    assert [entry["log_level"] for entry in said] == ["error"]
    clock.now_s += REFUSED_S
    dodo.fault = None
    assert await resolver.contact("cus_1") == ANN


async def test_late_answer_is_kept(dodo: Dodo) -> None:
    """A question ends in time without its answer; the answer that comes later is there for the next webhook."""
    resolver = Resolver(dodo, within_s=0.01)
    dodo.gate = asyncio.Event()
    assert await resolver.contact("cus_1") is None
    assert await resolver.contact("cus_2") is None  # nobody else is asked for while the API is slow
    dodo.gate.set()
    asking = list(resolver._asking.values())
    await asyncio.gather(*asking)
    assert await resolver.contact("cus_1") == ANN
    assert dodo.asked == ["cus_1"]
    await resolver.close()


async def test_one_question_for_one_customer(dodo: Dodo) -> None:
    """Questions about one customer at the same time are one request."""
    resolver = Resolver(dodo)
    dodo.gate = asyncio.Event()
    waiting = [asyncio.ensure_future(resolver.contact("cus_1")) for _ in range(5)]
    await asyncio.sleep(0)
    dodo.gate.set()
    assert await asyncio.gather(*waiting) == [ANN] * 5
    assert dodo.asked == ["cus_1"]


async def test_memory_is_bounded(dodo: Dodo, clock: Clock) -> None:
    """However many customers come by, a bounded number of answers is kept."""
    resolver = Resolver(dodo, clock=clock)
    for number in range(REMEMBERED + 50):
        await resolver.contact(f"cus_x{number}")
    assert len(resolver._answers) == REMEMBERED


async def test_over_a_socket() -> None:
    """With a real client: found, not found, and away after one failed answer, without a second attempt."""
    account = Account(limits=())
    account.objects["customers"]["cus_1"] = ANN
    async with serving(account) as url:
        api = DodoApi(url, SecretStr(LIVE_KEY), patience=Patience(attempts=1), rate=RateLimit((1000, 1.0)))
        resolver = Resolver(api)
        assert await resolver.contact("cus_1") == ANN
        assert await resolver.contact("cus_2") is None
        account.faults.append(lambda _: error(503, "AWAY"))
        assert await resolver.contact("cus_3") is None
        assert await resolver.contact("cus_4") is None
        assert account.requests == ["/customers/cus_1", "/customers/cus_2", "/customers/cus_3"]
        await resolver.close()


def test_only_with_a_live_key() -> None:
    """Without a key nobody is asked; the test-mode host is refused at the start."""
    assert Resolver.of(Settings.load()) is None
    with pytest.raises(SettingsError, match="test-mode data"):
        Resolver.of(Settings.load(dodo_api_key="k", dodo_api_url="https://test.dodopayments.com"))
