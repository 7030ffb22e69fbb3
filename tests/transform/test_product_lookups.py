"""Names of products from Dodo's API: asked once, waited for a set time at most, kept between starts."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from pipeline.dodo import samples
from pipeline.dodo.api import DodoApi, RateLimit
from pipeline.dodo.api.requests import RetryPolicy
from pipeline.errors import CredentialError, DeliveryError, UnexpectedAnswerError
from pipeline.settings import Settings
from pipeline.transform.product_lookups import ALL, MAX_ASKING, PAGE_AGAIN_S, UNKNOWN_S, ProductLookedUp, ProductLookups
from pipeline.transform.product_names import FILE, MAX_NAME_CHARS, ProductNames
from pipeline.transform.resolver import AWAY_S, REFUSED_S
from pipeline.transform.webhook import read
from tests.dodo.stand_in import LIVE_KEY, Account, error, serving
from tests.records import Consumed

NEVER_S = 3600.0


class Dodo:
    """An API that answers as a test wants, and remembers what was asked."""

    def __init__(self, **names: str) -> None:
        self.names = names
        self.asked: list[str] = []
        self.fault: Exception | None = None
        self.gate: asyncio.Event | None = None

    async def products(self, number: int) -> list[dict[str, Any]]:
        """Two a page, counted from 0."""
        await self._answer(f"page {number}")
        listed = sorted(self.names.items())[number * 2 : number * 2 + 2]
        return [{"product_id": product_id, "name": name} for product_id, name in listed]

    async def product(self, product_id: str) -> dict[str, Any] | None:
        """As the API."""
        await self._answer(product_id)
        name = self.names.get(product_id)
        return None if name is None else {"product_id": product_id, "name": name}

    async def aclose(self) -> None:
        """Nothing to close."""

    async def _answer(self, what: str) -> None:
        self.asked.append(what)
        if self.gate is not None:
            await self.gate.wait()
        if self.fault is not None:
            raise self.fault


consumed = partial(Consumed, timestamp=1)
"""A record as a consumer hands it out."""


class Bench:
    """Look-ups with a clock of their own."""

    def __init__(
        self, path: Path, dodo: Any, *, wait_s: float = NEVER_S, given: dict[str, str] | None = None, **how: Any
    ) -> None:
        self.path = path / FILE
        self.names = ProductNames(given or {}, self.path)
        self.now = 1000.0
        self.told: list[str] = []
        self.lookups = ProductLookups(
            dodo, self.names, wait_s=wait_s, clock=lambda: self.now, observe=self._told, **how
        )

    def _told(self, event: ProductLookedUp) -> None:
        self.told.append(event.outcome)

    def missing(self, *product_ids: str, waits: bool = True, **headers: str) -> asyncio.Future[None] | None:
        """What a record with these products waits for."""
        cart = ",".join(f'{{"product_id": "{one}"}}' for one in product_ids)
        pairs = tuple((name.replace("_", "-"), value.encode()) for name, value in headers.items())
        body = f'{{"type":"payment.succeeded","data":{{"cart":[{cart}]}}}}'
        return self.lookups.missing(read(consumed(body.encode(), pairs)), waits=waits)

    async def settled(self) -> None:
        """Wait for what is being asked."""
        while self.lookups._asking or self.lookups._reading:  # noqa: ASYNC110 - they tell nobody
            await asyncio.sleep(0)


async def test_all_names_are_read_once_at_the_start_and_kept(tmp_path: Path) -> None:
    """Every page; the next start knows them before it has asked anybody."""
    dodo = Dodo(pdt_1="Book", pdt_2="Pen", pdt_3="Ink")
    bench = Bench(tmp_path, dodo)
    await bench.lookups.start()
    waiting = bench.missing("pdt_3")
    assert waiting is not None
    await waiting
    assert dict(bench.names) == {"pdt_1": "Book", "pdt_2": "Pen", "pdt_3": "Ink"}
    assert dodo.asked == ["page 0", "page 1", "page 2"]
    assert bench.missing("pdt_1", "pdt_2", "pdt_3") is None
    await bench.settled()
    await bench.lookups.close()
    assert dict(ProductNames({"pdt_2": "The pen"}, bench.path)) == {"pdt_1": "Book", "pdt_2": "The pen", "pdt_3": "Ink"}


class Hours:
    """A sleep that ends when the test says that the time has come; rates do not wait."""

    def __init__(self) -> None:
        self.slept: list[float] = []
        self._over = asyncio.Event()

    async def __call__(self, seconds: float) -> None:
        """Sleep an hour until it is over, anything else not at all."""
        self.slept.append(seconds)
        if seconds == NEVER_S:
            await self._over.wait()
            self._over.clear()

    def strike(self) -> None:
        """An hour is over."""
        self._over.set()

    async def asleep(self, times: int) -> None:
        """Return when so many hours have begun."""
        while self.slept.count(NEVER_S) < times:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.001)


async def test_a_renamed_product_has_its_new_name_without_a_restart(tmp_path: Path) -> None:
    """All are read again now and then, at a distance, while nobody waits; also after an hour in which Dodo was away."""
    dodo, hours = Dodo(pdt_1="Book", pdt_2="Pen", pdt_3="Ink"), Hours()
    bench = Bench(tmp_path, dodo, again_s=NEVER_S, sleep=hours)
    await bench.lookups.start()
    await bench.settled()
    await hours.asleep(1)
    dodo.names["pdt_3"] = "Blue ink"
    dodo.fault = DeliveryError("away")
    hours.strike()
    await hours.asleep(2)
    assert bench.names["pdt_3"] == "Ink"
    bench.now += AWAY_S + 1
    dodo.fault, dodo.gate = None, asyncio.Event()
    asked = len(dodo.asked)
    hours.strike()
    while len(dodo.asked) == asked:  # noqa: ASYNC110 - it tells nobody
        await asyncio.sleep(0.001)
    assert bench.missing("pdt_3") is None
    waiting = bench.missing("pdt_4")
    assert waiting is not bench.lookups._all, "a new product waits for its own answer, not for the list"
    dodo.gate.set()
    await hours.asleep(3)
    assert bench.names["pdt_3"] == "Blue ink"
    assert hours.slept.count(PAGE_AGAIN_S) >= 2
    await bench.lookups.close()
    assert ProductNames({}, bench.path)["pdt_3"] == "Blue ink"


async def test_where_nobody_wants_it_names_are_read_once(tmp_path: Path) -> None:
    """0: never again."""
    dodo, hours = Dodo(pdt_1="Book"), Hours()
    bench = Bench(tmp_path, dodo, sleep=hours)
    await bench.lookups.start()
    await bench.settled()
    await bench.lookups._tasks.ended(ALL)
    assert [task.get_name() for task in bench.lookups._tasks._running] == []
    assert NEVER_S not in hours.slept
    await bench.lookups.close()


async def test_a_new_product_is_asked_for_once(tmp_path: Path) -> None:
    """However many records mention it meanwhile; what it is called is there for the record that waited."""
    dodo = Dodo(pdt_1="Book")
    dodo.gate = asyncio.Event()
    bench = Bench(tmp_path, dodo)
    waiting = bench.missing("pdt_1")
    assert waiting is not None
    assert bench.missing("pdt_1") is waiting
    assert bench.missing("pdt_1", waits=False) is None
    dodo.gate.set()
    await waiting
    assert bench.names["pdt_1"] == "Book"
    assert bench.missing("pdt_1") is None
    assert (dodo.asked, bench.told) == (["pdt_1"], ["found"])
    await bench.lookups.close()


async def test_nobody_waits_longer_than_the_set_time(tmp_path: Path) -> None:
    """The record goes on without the name, and so do those after it; the late answer is kept."""
    dodo = Dodo(pdt_1="Book")
    dodo.gate = asyncio.Event()
    bench = Bench(tmp_path, dodo, wait_s=0.001)
    waiting = bench.missing("pdt_1")
    assert waiting is not None
    await waiting
    assert "pdt_1" not in bench.names
    assert bench.missing("pdt_1") is None
    dodo.gate.set()
    await bench.settled()
    assert bench.names["pdt_1"] == "Book"
    assert dodo.asked == ["pdt_1"]
    await bench.lookups.close()


async def test_with_no_time_nobody_waits_at_all(tmp_path: Path) -> None:
    """The question is asked all the same."""
    bench = Bench(tmp_path, Dodo(pdt_1="Book"), wait_s=0)
    assert bench.missing("pdt_1") is None
    await bench.settled()
    assert bench.names["pdt_1"] == "Book"
    await bench.lookups.close()


async def test_a_start_while_the_api_hangs_delays_nobody_for_long(tmp_path: Path) -> None:
    """The first read is waited for once, by all together."""
    dodo = Dodo()
    dodo.gate = asyncio.Event()
    bench = Bench(tmp_path, dodo, wait_s=0.001)
    await bench.lookups.start()
    waiting = bench.missing("pdt_1")
    assert waiting is not None
    await waiting
    assert bench.missing("pdt_1") is None
    assert bench.missing("pdt_2") is None
    await bench.lookups.close()


async def test_what_has_no_name_is_asked_for_again_later(tmp_path: Path) -> None:
    """A product that Dodo does not know costs one question in ten minutes."""
    dodo = Dodo()
    bench = Bench(tmp_path, dodo)
    bench.missing("pdt_1")
    await bench.settled()
    assert bench.missing("pdt_1") is None
    assert bench.told == ["nameless"]
    bench.now += UNKNOWN_S + 1
    dodo.names["pdt_1"] = "Book"
    bench.missing("pdt_1")
    await bench.settled()
    assert bench.names["pdt_1"] == "Book"
    await bench.lookups.close()


@pytest.mark.parametrize(
    ("fault", "silent_s"), [(DeliveryError("away"), AWAY_S), (CredentialError("refused"), REFUSED_S)]
)
async def test_an_api_that_fails_is_left_alone(tmp_path: Path, fault: Exception, silent_s: float) -> None:
    """No question until it may be better, and nobody waits meanwhile."""
    dodo = Dodo(pdt_1="Book", pdt_2="Pen")
    dodo.fault = fault
    bench = Bench(tmp_path, dodo)
    bench.missing("pdt_1")
    await bench.settled()
    bench.now += silent_s - 1
    assert bench.missing("pdt_1", "pdt_2") is None
    assert dodo.asked == ["pdt_1"]
    dodo.fault = None
    bench.now += 2
    bench.missing("pdt_1", "pdt_2")
    await bench.settled()
    assert dict(bench.names) == {"pdt_1": "Book", "pdt_2": "Pen"}
    await bench.lookups.close()


async def test_garbage_about_one_product_silences_no_other(tmp_path: Path) -> None:
    """It counts as nameless; the next one is asked for."""
    dodo = Dodo(pdt_2="Pen")
    dodo.fault = UnexpectedAnswerError("no JSON")
    bench = Bench(tmp_path, dodo)
    bench.missing("pdt_1")
    await bench.settled()
    dodo.fault = None
    bench.missing("pdt_2")
    await bench.settled()
    assert bench.told == ["failed", "found"]
    await bench.lookups.close()


async def test_only_so_many_questions_at_once(tmp_path: Path) -> None:
    """A webhook with a hundred new products is no storm at Dodo."""
    dodo = Dodo()
    dodo.gate = asyncio.Event()
    bench = Bench(tmp_path, dodo)
    bench.missing(*(f"pdt_{number}" for number in range(100)))
    await asyncio.sleep(0)
    assert len(bench.lookups._asking) == MAX_ASKING
    dodo.gate.set()
    await bench.settled()
    await bench.lookups.close()


async def test_records_that_ask_for_nothing(tmp_path: Path) -> None:
    """Test-mode products are not the live account's, commands are of others, and a tombstone has no products."""
    dodo = Dodo()
    bench = Bench(tmp_path, dodo, given={"pdt_1": "Book"})
    assert bench.missing("pdt_1") is None
    assert bench.missing("pdt_2", dodo_mode="test") is None
    assert bench.missing("pdt_2", dodo_command="backfill") is None
    assert bench.lookups.missing(read(consumed(None)), waits=True) is None
    escaped = b'{"type": "x", "data": {"product_id": "\\u0070dt"}}'
    assert bench.lookups.missing(read(consumed(escaped)), waits=True) is None
    assert bench.lookups.missing(read(consumed(samples.load("payout.created"))), waits=True) is None
    assert dodo.asked == []
    await bench.lookups.close()


@pytest.mark.parametrize("kept", [b"", b"[1]", b"not json", b'{"pdt_1": 7, "pdt_2": ""}'])
def test_a_damaged_file_counts_as_nothing(tmp_path: Path, kept: bytes) -> None:
    """It may be lost at any time."""
    (tmp_path / FILE).write_bytes(kept)
    assert dict(ProductNames({}, tmp_path / FILE)) == {}


def test_a_disk_that_takes_nothing_costs_only_the_memory_of_it(tmp_path: Path) -> None:
    """The names are known all the same, and cut to what an attribute holds."""
    (tmp_path / "file").write_text("")
    names = ProductNames({}, tmp_path / "file" / FILE)
    assert names.learn({"product_id": "pdt_1", "name": "B" * 999})
    assert not names.learn({"product_id": "pdt_1", "name": "B" * 999})
    names.keep(names.written())
    assert names["pdt_1"] == "B" * MAX_NAME_CHARS


async def test_over_http(tmp_path: Path) -> None:
    """With a real client: the list, one product, none, and an API that is away."""
    account = Account(limits=())
    product = {"product_id": "pdt_1", "name": "Book", "created_at": "2026-01-01T00:00:00Z"}
    account.objects["products"]["pdt_1"] = product
    async with serving(account) as url:
        api = DodoApi(url, SecretStr(LIVE_KEY), patience=RetryPolicy(attempts=1), rate=RateLimit((1000, 1.0)))
        bench = Bench(tmp_path, api)
        await bench.lookups.start()
        await bench.settled()
        account.objects["products"]["pdt_2"] = product | {"product_id": "pdt_2", "name": "Pen"}
        for product_id in ("pdt_2", "pdt_3"):
            bench.missing(product_id)
            await bench.settled()
        account.faults.append(lambda _: error(503, "AWAY"))
        bench.missing("pdt_4")
        await bench.settled()
        assert dict(bench.names) == {"pdt_1": "Book", "pdt_2": "Pen"}
        assert bench.told == ["found", "nameless", "failed"]
        await bench.lookups.close()


def test_only_with_a_key(tmp_path: Path) -> None:
    """Without one nothing is asked."""
    assert ProductLookups.of(Settings.load(), ProductNames({}, tmp_path / FILE)) is None
