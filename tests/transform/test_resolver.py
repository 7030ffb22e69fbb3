"""Look-ups of customers at Dodo, bounded whatever the API does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import structlog
from pydantic import SecretStr

from pipeline.dodo.api import DodoApi, RateLimit
from pipeline.dodo.api.requests import RetryPolicy
from pipeline.errors import CredentialError, DeliveryError, SettingsError, UnexpectedAnswerError
from pipeline.settings import Settings
from pipeline.transform.resolver import (
    AWAY_S,
    GARBAGE_IN_A_ROW,
    KNOWN_S,
    MAX_ASKING,
    PER_SECOND,
    REFUSED_S,
    REMEMBERED,
    SLOW_S,
    UNKNOWN_S,
    FoundCustomer,
    Resolver,
)
from tests.dodo.stand_in import LIVE_KEY, Account, error, serving

ANN = {"customer_id": "cus_1", "email": "ann@example.com"}


class Dodo:
    """An API that answers as a test wants, and remembers who was asked for."""

    def __init__(self) -> None:
        self.customers: dict[str, dict[str, Any]] = {"cus_1": ANN}
        self.fault: Exception | None = None
        self.gate: asyncio.Event | None = None
        self.asked: list[str] = []
        self.faults: dict[str, Exception] = {}
        self.answering: Callable[[], None] = lambda: None

    async def customer(self, customer_id: str) -> dict[str, Any] | None:
        """As the API."""
        self.asked.append(customer_id)
        if self.gate is not None:
            await self.gate.wait()
        self.answering()
        if customer_id in self.faults:
            raise self.faults[customer_id]
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


async def contact(resolver: Resolver, customer_id: str) -> Any:
    """What is known of the customer once the question has ended, as a chunk with patience finds it."""
    found = resolver.ask(customer_id)
    if isinstance(found, asyncio.Task):
        await asyncio.wait({found})
        found = resolver.ask(customer_id)
    return found.customer if isinstance(found, FoundCustomer) else found


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
    assert [await contact(resolver, "cus_1") for _ in range(3)] == [ANN] * 3
    assert dodo.asked == ["cus_1"]
    clock.now_s += KNOWN_S
    assert await contact(resolver, "cus_1") == ANN
    assert dodo.asked == ["cus_1"] * 2


async def test_unknown_customers_are_remembered_shortly(dodo: Dodo, clock: Clock) -> None:
    """That Dodo does not know a customer holds for minutes; then it may."""
    resolver = Resolver(dodo, clock=clock)
    assert [await contact(resolver, "cus_2") for _ in range(3)] == [None] * 3
    assert dodo.asked == ["cus_2"]
    clock.now_s += UNKNOWN_S
    dodo.customers["cus_2"] = {"customer_id": "cus_2"}
    assert await contact(resolver, "cus_2") == {"customer_id": "cus_2"}


async def test_one_warning_an_outage(dodo: Dodo, clock: Clock) -> None:
    """While the API is away customers are None, few are asked for, and it is said once; then it works again."""
    resolver = Resolver(dodo, clock=clock)
    dodo.fault = DeliveryError("no answer")
    with structlog.testing.capture_logs() as said:
        for _ in range(20):
            assert await contact(resolver, "cus_1") is None
        assert len(dodo.asked) == 1
        clock.now_s += AWAY_S
        assert await contact(resolver, "cus_1") is None
        assert len(dodo.asked) == 2
        dodo.fault = None
        clock.now_s += AWAY_S
        assert await contact(resolver, "cus_1") == ANN
    assert [entry["log_level"] for entry in said] == ["warning", "info"]


async def test_refused_key(dodo: Dodo, clock: Clock) -> None:
    """A wrong key is an error in the log, at long intervals, and never the flow's trouble."""
    resolver = Resolver(dodo, clock=clock)
    dodo.fault = CredentialError("refused")
    with structlog.testing.capture_logs() as said:
        for _ in range(20):
            assert await contact(resolver, "cus_1") is None
            clock.now_s += 1
    assert [entry["log_level"] for entry in said] == ["error"]
    clock.now_s += REFUSED_S
    dodo.fault = None
    assert await contact(resolver, "cus_1") == ANN


async def test_a_slow_api_is_away(dodo: Dodo) -> None:
    """An answer that does not come within seconds stops all further questions, and is kept when it comes."""
    resolver = Resolver(dodo, slow_s=0.01)
    dodo.gate = asyncio.Event()
    with structlog.testing.capture_logs() as said:
        asking = resolver.ask("cus_1")
        assert isinstance(asking, asyncio.Task)
        while not resolver._away:  # noqa: ASYNC110 - a timer of the loop
            await asyncio.sleep(0.001)
        assert resolver.ask("cus_2") is None
        assert resolver.ask("cus_1") is asking  # whoever wants to may wait for it
        dodo.gate.set()
        await asking
    assert resolver.ask("cus_1") == FoundCustomer(ANN, found_at(resolver, "cus_1"))
    assert resolver.ask("cus_3") is None
    assert [entry["log_level"] for entry in said] == ["warning"]
    assert said[0]["error"] == "no answer within 0.01 s"
    await resolver.close()


def found_at(resolver: Resolver, customer_id: str) -> int:
    """When the answer was true."""
    found = resolver.ask(customer_id)
    assert isinstance(found, FoundCustomer)
    return found.at_s


async def test_a_slow_answer_is_as_bad_as_none(dodo: Dodo, clock: Clock) -> None:
    """One that comes after its time trips the breaker though it came; a quick one after the pause ends that."""
    resolver = Resolver(dodo, clock=clock)

    def slowly() -> None:
        clock.now_s += SLOW_S + 1

    dodo.answering = slowly
    with structlog.testing.capture_logs() as said:
        assert await contact(resolver, "cus_1") == ANN
        assert await contact(resolver, "cus_2") is None
        dodo.answering = lambda: None
        clock.now_s += AWAY_S
        assert await contact(resolver, "cus_2") is None
    assert dodo.asked == ["cus_1", "cus_2"]
    assert [entry["log_level"] for entry in said] == ["warning", "info"]


async def test_the_turn_is_not_the_api(dodo: Dodo, clock: Clock) -> None:
    """To wait for one's own pace is no slowness, and only so many wait for their turn."""

    async def sleep(seconds: float) -> None:
        clock.now_s += seconds

    resolver = Resolver(dodo, clock=clock, rate=RateLimit((PER_SECOND, 1.0)), sleep=sleep)
    asking = [resolver.ask(f"cus_{number}") for number in range(MAX_ASKING + 3)]
    assert [one is None for one in asking] == [False] * MAX_ASKING + [True] * 3
    for one in asking:
        if isinstance(one, asyncio.Task):
            await one
    assert len(dodo.asked) == MAX_ASKING
    assert await contact(resolver, "cus_x") is None
    assert len(dodo.asked) == MAX_ASKING + 1  # nothing was taken for an outage


@pytest.mark.parametrize("error", [UnexpectedAnswerError("no object"), ValueError("a bug")], ids=["garbage", "bug"])
async def test_garbage_silences_nobody_else(dodo: Dodo, clock: Clock, error: Exception) -> None:
    """One customer whose answer is none is not asked for again for minutes; all others are."""
    resolver = Resolver(dodo, clock=clock)
    dodo.faults["cus_bad"] = error
    for _ in range(GARBAGE_IN_A_ROW + 1):
        assert await contact(resolver, "cus_bad") is None
    assert await contact(resolver, "cus_1") == ANN
    assert dodo.asked == ["cus_bad", "cus_1"]
    clock.now_s += UNKNOWN_S
    del dodo.faults["cus_bad"]
    dodo.customers["cus_bad"] = {"customer_id": "cus_bad"}
    assert await contact(resolver, "cus_bad") == {"customer_id": "cus_bad"}


async def test_garbage_for_everybody(dodo: Dodo, clock: Clock) -> None:
    """Several in a row are an address that is not Dodo's, or an outage: then nobody is asked for."""
    resolver = Resolver(dodo, clock=clock)
    dodo.fault = UnexpectedAnswerError("HTML")
    for number in range(GARBAGE_IN_A_ROW + 5):
        assert await contact(resolver, f"cus_{number}") is None
    assert len(dodo.asked) == GARBAGE_IN_A_ROW


async def test_an_answer_says_when_it_was_true(dodo: Dodo, clock: Clock) -> None:
    """It is as old as its question, however late it comes and however long it is kept."""
    resolver = Resolver(dodo, clock=clock, unix=lambda: 1_790_000_000.9 + clock.now_s)
    asked_s = int(1_790_000_000.9 + clock.now_s)

    def later() -> None:
        clock.now_s += 1.5

    dodo.answering = later
    await contact(resolver, "cus_1")
    clock.now_s += KNOWN_S / 2
    assert found_at(resolver, "cus_1") == asked_s


async def test_one_question_for_one_customer(dodo: Dodo) -> None:
    """Questions about one customer at the same time are one request."""
    resolver = Resolver(dodo)
    dodo.gate = asyncio.Event()
    waiting = [asyncio.ensure_future(contact(resolver, "cus_1")) for _ in range(5)]
    await asyncio.sleep(0)
    dodo.gate.set()
    assert await asyncio.gather(*waiting) == [ANN] * 5
    assert dodo.asked == ["cus_1"]


async def test_memory_is_bounded(dodo: Dodo, clock: Clock) -> None:
    """However many customers come by, a bounded number of answers is kept."""
    resolver = Resolver(dodo, clock=clock)
    for number in range(REMEMBERED + 50):
        await contact(resolver, f"cus_x{number}")
    assert len(resolver._answers) == REMEMBERED


async def test_over_a_socket() -> None:
    """With a real client: found, not found, and away after one failed answer, without a second attempt."""
    account = Account(limits=())
    account.objects["customers"]["cus_1"] = ANN
    async with serving(account) as url:
        api = DodoApi(url, SecretStr(LIVE_KEY), patience=RetryPolicy(attempts=1), rate=RateLimit((1000, 1.0)))
        resolver = Resolver(api)
        assert await contact(resolver, "cus_1") == ANN
        assert await contact(resolver, "cus_2") is None
        account.faults.append(lambda _: error(503, "AWAY"))
        assert await contact(resolver, "cus_3") is None
        assert await contact(resolver, "cus_4") is None
        assert account.requests == ["/customers/cus_1", "/customers/cus_2", "/customers/cus_3"]
        await resolver.close()


def test_only_with_a_live_key() -> None:
    """Without a key nobody is asked; the test-mode host is refused at the start."""
    assert Resolver.of(Settings.load()) is None
    with pytest.raises(SettingsError, match="test-mode data"):
        Resolver.of(Settings.load(dodo_api_key="k", dodo_api_url="https://test.dodopayments.com"))
