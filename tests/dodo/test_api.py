"""Dodo's REST API, read over a real socket from a stand-in of it."""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response, StreamingResponse

from pipeline.dodo.api import Collection, DodoApi, Position, RateLimit, open_api, walk
from pipeline.dodo.api.client import COLLECTIONS, MAX_ENDPOINT_PAGES
from pipeline.dodo.api.listing import begin
from pipeline.dodo.api.rate import SLACK
from pipeline.dodo.api.requests import Clocks, RetryPolicy
from pipeline.dodo.simulator import Shop
from pipeline.errors import (
    CredentialError,
    DeliveryError,
    PipelineError,
    RefusedRequestError,
    SettingsError,
    UnexpectedAnswerError,
)
from pipeline.settings import Settings
from tests.dodo.stand_in import IDS, LIVE_KEY, Account, error, json, served

NOW = datetime(2026, 10, 20, 12, tzinfo=UTC)
SINCE = datetime(2024, 1, 1, tzinfo=UTC)
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
"""Before the oldest subscription of the shop."""

HASTY = RetryPolicy(attempts=4, first_s=0.01, longest_s=0.02)
NO_LIMIT = RateLimit((10**9, 1.0))


def fill(account: Account, count: int, step: timedelta) -> None:
    """So many payments, one each `step`."""
    for number in range(count):
        created_at = (SINCE + step * number).isoformat().replace("+00:00", "Z")
        payment = {"payment_id": f"pay_{number}", "created_at": created_at, "status": "succeeded"}
        account.objects["payments"][f"pay_{number}"] = payment


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[Account, str]]:
    """The stand-in, for all tests one after the other."""
    account = Account()
    with served(account) as url:
        yield account, url


@pytest.fixture
def account(server: tuple[Account, str]) -> Account:
    """An empty account without limits."""
    server[0].reset(limits=())
    return server[0]


@pytest.fixture
def url(server: tuple[Account, str]) -> str:
    """Its address."""
    return server[1]


@pytest.fixture
async def api(account: Account, url: str) -> AsyncIterator[DodoApi]:  # noqa: ARG001 - the account of the address
    """A hasty client of it."""
    async with DodoApi(url, SecretStr(LIVE_KEY), patience=HASTY, rate=NO_LIMIT) as client:
        yield client


async def walked(
    api: DodoApi, collection: Collection, start: Position | None = None, until: datetime = NOW
) -> list[dict[str, Any]]:
    """Every object of a walk over a socket."""
    return [item async for page in walk(api, collection, start or begin(SINCE, until), until) for item in page.items]


@pytest.mark.parametrize("collection", COLLECTIONS)
async def test_walk_finds_every_object_once(account: Account, api: DodoApi, collection: Collection) -> None:
    """A walk over years yields each object of the shop once, whatever its time of creation."""
    account.learn(d.body for d in Shop(7, NOW).deliveries(1_500) if d.kind == "first")
    everything = {
        key
        for key, item in account.objects[collection].items()
        if collection not in {"payments", "refunds"} or item["status"] == "succeeded"
    }
    found = [item[IDS[collection]] for item in await walked(api, collection, begin(LONG_AGO, NOW))]
    assert len(found) > 8
    assert sorted(found) == sorted(everything)


async def test_ends_of_a_walk(account: Account, api: DodoApi) -> None:
    """What was created at the first moment is part of it, what was created at the last is not."""
    fill(account, 5, timedelta(hours=1))
    found = await walked(
        api,
        "payments",
        Position(SINCE + timedelta(hours=1), SINCE + timedelta(hours=2)),
        SINCE + timedelta(hours=3),
    )
    assert [item["payment_id"] for item in found] == ["pay_1", "pay_2"]


async def test_walk_where_pages_count_from_one(account: Account, api: DodoApi) -> None:
    """If page 0 and page 1 are the same page, nothing is missed and nothing comes twice."""
    fill(account, 450, timedelta(seconds=30))
    account.first_page = 1
    found = [item["payment_id"] for item in await walked(api, "payments")]
    assert sorted(found) == sorted(account.objects["payments"])


async def test_walk_cuts_windows_with_too_many_pages(account: Account, api: DodoApi) -> None:
    """A day with more pages than the API numbers is read in parts, each object at least once."""
    fill(account, 1_000, timedelta(seconds=60))
    account.deepest = 3
    found = {item["payment_id"] for item in await walked(api, "payments")}
    assert found == set(account.objects["payments"])
    assert account.statuses[422] > 0


async def test_walk_goes_on_where_it_stopped(account: Account, api: DodoApi) -> None:
    """From any page's position a second walk yields exactly what the first had not given yet."""
    fill(account, 700, timedelta(minutes=7))
    pages = [page async for page in walk(api, "payments", begin(SINCE, NOW), NOW)]
    everything = [item["payment_id"] for page in pages for item in page.items]
    for page in pages[:: max(1, len(pages) // 6)]:
        done = sum(len(p.items) for p in pages[: pages.index(page) + 1])
        rest = [i["payment_id"] async for p in walk(api, "payments", page.then, NOW) for i in p.items]
        assert rest == everything[done:]
    assert len(everything) == 700


async def test_long_quiet_times_cost_few_requests(account: Account, api: DodoApi) -> None:
    """Ten years in which nothing happened are read in about a dozen requests."""
    assert await walked(api, "payments", begin(NOW - timedelta(days=3650), NOW)) == []
    assert len(account.requests) < 15


async def test_pages_without_numbers(account: Account, api: DodoApi) -> None:
    """An API that ignores the page's number is found out instead of read for ever."""

    async def same(_: Request) -> Response:
        account.faults.append(same)
        return json({"items": [{"payment_id": "pay_1"}]})

    account.faults.append(same)
    with pytest.raises(UnexpectedAnswerError, match="same objects"):
        async for _ in walk(api, "payments", begin(SINCE, NOW), NOW):
            pass


async def test_ranges_that_are_ignored(account: Account, api: DodoApi) -> None:
    """An API that does not filter by time is found out, instead of read whole for each window."""
    account.faults.append(lambda _: json({"items": [{"payment_id": "pay_1", "created_at": "2020-01-01T00:00:00Z"}]}))
    with pytest.raises(UnexpectedAnswerError, match="not created in the range"):
        async for _ in walk(api, "payments", begin(SINCE, NOW), NOW):
            pass


async def test_list_items_are_small(account: Account, api: DodoApi) -> None:
    """The stand-in is as sparse as the reference: refunds without customer, payments without the card-update flag."""
    account.learn(d.body for d in Shop(7, NOW).deliveries(600) if d.kind == "first")
    refunds = await api.page("refunds", since=SINCE, until=NOW, number=0)
    payments = await api.page("payments", since=SINCE, until=NOW, number=0)
    assert refunds
    assert not any("customer" in item or "metadata" in item for item in refunds)
    assert not any("is_update_payment_method" in item or "billing" in item for item in payments)
    assert len(payments) == 100
    whole = await api.payment(payments[0]["payment_id"])
    assert whole is not None
    assert "is_update_payment_method" in whole


async def test_single_objects(account: Account, api: DodoApi) -> None:
    """A customer is found by its id; an unknown one is None; an id cannot lead to another route."""
    account.objects["customers"]["cus_1"] = {"customer_id": "cus_1", "email": "ann@example.com"}
    assert await api.customer("cus_1") == {"customer_id": "cus_1", "email": "ann@example.com"}
    assert await api.customer("cus_2") is None
    assert await api.payment("../customers/cus_1") is None
    assert await api.payment("x?status=succeeded") is None


@pytest.mark.parametrize("no_id", ["", ".", "..", "\ud800"])
async def test_ids_that_are_none(no_id: str, account: Account, api: DodoApi) -> None:
    """What would lead out of its route, or to all of it, is known by nobody, and nobody is asked."""
    for find in (api.customer, api.payment, api.subscription):
        assert await find(no_id) is None
    assert account.requests == []


@given(st.text() | st.text(alphabet="./%2eE\\?#", max_size=6))
@settings(max_examples=300)
async def test_no_id_leaves_its_route(object_id: str) -> None:
    """Whatever text stands for an id, the request is for one object of the collection, by the bytes that are sent."""
    asked: list[bytes] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.raw_path)
        return httpx.Response(404)

    async with DodoApi(
        "https://dodo.example.com", SecretStr("k"), rate=NO_LIMIT, transport=httpx.MockTransport(answer)
    ) as api:
        assert await api.customer(object_id) is None
    for path in asked:
        before, collection, segment = path.split(b"/")
        assert (before, collection) == (b"", b"customers")
        assert unquote(segment.decode()) == object_id
        assert object_id.strip(".")  # not dots alone, which servers and proxies take for steps up
        assert not set(segment) & set(b"?#")


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (401, CredentialError, "works at its own host only"),
        (403, CredentialError, "may not read /payments"),
        (422, RefusedRequestError, "does not take"),
        (404, UnexpectedAnswerError, "HTTP 404: is PIPELINE_DODO_API_URL its address"),
        (405, UnexpectedAnswerError, "HTTP 405"),
        (503, DeliveryError, "in 4 attempts"),
    ],
)
async def test_errors_say_what_to_do(
    account: Account, api: DodoApi, status: int, kind: type[PipelineError], words: str
) -> None:
    """Each refusal has its kind and words, and repeats nothing of the key or of the answer's text."""
    account.faults += [lambda _: error(status, "SOME_CODE")] * 9
    with pytest.raises(kind, match=words) as caught:
        await api.page("payments", since=SINCE, until=NOW, number=0)
    assert "jiwoo" not in str(caught.value)
    assert LIVE_KEY not in str(caught.value)
    assert LIVE_KEY not in repr(api)


async def test_a_list_that_is_not_there_is_no_empty_one(account: Account, api: DodoApi) -> None:
    """A proxy that answers 404 for a moment ends a walk; taken for a page behind the last, it would skip payments."""
    fill(account, 250, timedelta(minutes=1))

    def gone(request: Request) -> Response | None:
        return error(404, "NO_ROUTE") if request.query_params["page_number"] == "1" else None

    account.faults.append(gone)
    with pytest.raises(UnexpectedAnswerError, match="/payments with HTTP 404"):
        await walked(api, "payments")
    account.faults.append(lambda _: error(404, "NO_ROUTE"))
    with pytest.raises(UnexpectedAnswerError, match="/products with HTTP 404"):
        await api.products(0)


async def test_wrong_key(account: Account, url: str) -> None:
    """A key of another account or mode is a fault of the configuration, told at the first request."""
    async with DodoApi(url, SecretStr("test.key"), patience=HASTY) as api:
        with pytest.raises(CredentialError, match="PIPELINE_DODO_API_KEY"):
            await api.customer("cus_1")
    assert len(account.requests) == 1


@pytest.mark.parametrize(
    "answer",
    [
        json([]),
        json({"data": []}),
        json({"items": [1]}),
        json({"items": None}),
        PlainTextResponse("<html>"),
        RedirectResponse("/login"),
    ],
    ids=["array", "other", "numbers", "null", "html", "redirect"],
)
async def test_unexpected_forms(account: Account, api: DodoApi, answer: Response) -> None:
    """What is no page of objects ends in an error that names the setting or the route, not in an empty list."""
    account.faults.append(lambda _: answer)
    with pytest.raises(UnexpectedAnswerError):
        await api.page("payments", since=SINCE, until=NOW, number=0)


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 504])
async def test_passing_trouble_is_waited_out(account: Account, api: DodoApi, status: int) -> None:
    """What may succeed later is asked again, and then answered."""
    account.objects["customers"]["cus_1"] = {"customer_id": "cus_1"}
    account.faults += [lambda _: error(status, "LATER", {"Retry-After": "0"})] * 3
    assert await api.customer("cus_1") == {"customer_id": "cus_1"}
    assert account.statuses[status] == 3


async def test_lost_connections_are_retried() -> None:
    """A broken connection or a time-out is asked again; when it stays, the error names the host and no key."""
    seen: list[httpx.Request] = []

    def flaky(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        if len(seen) < 4:
            raise httpx.ReadTimeout("too slow")
        return httpx.Response(200, json={"customer_id": "cus_1"})

    async with DodoApi(
        "http://127.0.0.1:9", SecretStr(LIVE_KEY), patience=HASTY, transport=httpx.MockTransport(flaky)
    ) as api:
        assert await api.customer("cus_1") == {"customer_id": "cus_1"}
        seen.clear()
        with pytest.raises(DeliveryError, match="ReadTimeout too slow") as caught:
            await DodoApi(
                "http://127.0.0.1:9",
                SecretStr(LIVE_KEY),
                patience=RetryPolicy(attempts=2, first_s=0.001),
                transport=httpx.MockTransport(flaky),
            ).customer("cus_1")
    assert LIVE_KEY not in str(caught.value)


class FakeClock:
    """Time that passes only in sleeps."""

    def __init__(self) -> None:
        self.now_s = 1_000.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        """Seconds."""
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        """Let them pass."""
        self.slept.append(seconds)
        self.now_s += seconds

    @property
    def clocks(self) -> Clocks:
        """As the client wants it."""
        return Clocks(self.monotonic, lambda: 1_700_000_000.0, self.sleep)


async def test_retry_after_holds_every_request() -> None:
    """After a 429 nothing is sent before its Retry-After is over, and the pause is not shortened by the backoff."""
    clock = FakeClock()
    sent: list[float] = []

    def limited(_: httpx.Request) -> httpx.Response:
        sent.append(clock.now_s)
        if len(sent) == 1:
            return httpx.Response(429, headers={"Retry-After": "17"})
        return httpx.Response(200, json={"customer_id": "cus_1"})

    transport = httpx.MockTransport(limited)
    async with DodoApi("http://127.0.0.1:9", SecretStr(LIVE_KEY), transport=transport, clocks=clock.clocks) as api:
        await api.customer("cus_1")
    assert sent[1] - sent[0] == pytest.approx(17)


async def test_rate_of_the_account_over_a_socket(account: Account, url: str) -> None:
    """At full speed no request is refused by an account that counts arrivals by the client's clock."""
    clock = FakeClock()
    account.reset(monotonic=clock.monotonic)
    async with DodoApi(url, SecretStr(LIVE_KEY), patience=HASTY, clocks=clock.clocks) as api:
        for number in range(300):
            await api.customer(f"cus_{number}")
    assert account.statuses == {404: 300}
    assert 60 < sum(clock.slept) < 70


@given(
    limits=st.lists(st.tuples(st.integers(1, 40), st.floats(0.5, 60)), min_size=1, max_size=3),
    pauses=st.lists(st.floats(0, 5), min_size=1, max_size=200),
)
@settings(deadline=None)
def test_no_window_holds_more_than_its_count(limits: list[tuple[int, float]], pauses: list[float]) -> None:
    """However requests come, any window of each limit has at most its count of them, and their order stays."""
    rate = RateLimit(*limits)
    now_s, sent = 0.0, []
    for pause in pauses:
        now_s += pause
        assert rate.wait_s(now_s) >= 0
        sent.append(now_s + rate.take(now_s))
    assert all(last - first >= -1e-6 for first, last in itertools.pairwise(sent))  # sums of floats
    for count, seconds in limits:
        for first, last in zip(sent, sent[count:], strict=False):
            assert last - first >= seconds * SLACK - 1e-6


def test_a_minute_of_the_account() -> None:
    """240 requests go in the first six seconds and a bit, the next one after the minute; a lower rate is kept too."""
    rate, now_s, sent = RateLimit.of_account(), 0.0, []
    for _ in range(241):
        now_s += rate.take(now_s)
        sent.append(now_s)
    assert sent[239] < 6
    assert sent[240] >= 60
    slow, now_s = RateLimit.of_account(10), 0.0
    for _ in range(11):
        now_s += slow.take(now_s)
    assert now_s >= 60


@given(failures=st.integers(1, 50), chance=st.floats(0, 1))
def test_pauses_grow_and_end(failures: int, chance: float) -> None:
    """A pause is never longer than the longest, and its bound grows with the failures."""
    pause_s = RetryPolicy().pause_s(failures, chance)
    assert 0 <= pause_s <= min(0.5 * 2**failures, 30)
    assert math.isfinite(pause_s)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "PIPELINE_DODO_API_KEY is not set"),
        ({"dodo_api_key": "a key\nof two lines"}, "PIPELINE_DODO_API_KEY has characters"),
        ({"dodo_api_key": "k", "dodo_api_url": "https://test.dodopayments.com"}, "test-mode data"),
        (
            {"dodo_api_key": "k", "dodo_api_url": "https://user:pw@example.com"},
            "PIPELINE_DODO_API_URL: must hold no user",
        ),
    ],
)
def test_unusable_settings(values: dict[str, str], words: str) -> None:
    """What cannot work is refused before the first request; the key's value is not repeated."""
    with pytest.raises(SettingsError, match=words) as caught:
        open_api(Settings.load(**values))
    assert "two lines" not in str(caught.value)


def test_default_host_is_the_live_one() -> None:
    """Without a setting the live host is asked."""
    assert open_api(Settings.load(dodo_api_key="k")).base_url == "https://live.dodopayments.com"


async def test_nothing_private_is_logged(account: Account, api: DodoApi, caplog: pytest.LogCaptureFixture) -> None:
    """With every logger at its loudest, neither key nor answer appear."""
    account.objects["customers"]["cus_1"] = {"customer_id": "cus_1", "email": "ann@example.com"}
    account.faults.append(lambda _: error(500, "OOPS"))
    with caplog.at_level(logging.DEBUG):
        await api.customer("cus_1")
    text = caplog.text
    assert LIVE_KEY not in text
    assert "ann@example.com" not in text
    assert "jiwoo" not in text


async def test_an_answer_that_trickles_is_ended(account: Account, url: str) -> None:
    """Bytes that keep coming cannot keep a question alive for ever."""

    async def drops() -> AsyncIterator[bytes]:
        while True:
            yield b" "
            await asyncio.sleep(0.01)

    account.faults.append(lambda _: StreamingResponse(drops()))
    patience = RetryPolicy(attempts=1)
    async with DodoApi(url, SecretStr(LIVE_KEY), patience=patience, answer_s=2.0) as api:  # to connect takes a part
        with pytest.raises(DeliveryError, match="ReadTimeout"):
            await api.customer("cus_1")


async def test_an_answer_that_cannot_be_unpacked(account: Account, url: str) -> None:
    """The API is there, and answered something that is none: an answer of a form that nobody knows."""
    account.faults.append(lambda _: Response(b"no gzip", headers={"content-encoding": "gzip"}))
    async with DodoApi(url, SecretStr(LIVE_KEY), patience=RetryPolicy(attempts=1)) as api:
        with pytest.raises(UnexpectedAnswerError, match="DecodingError"):
            await api.customer("cus_1")


async def test_many_at_once_share_the_rate(account: Account, url: str) -> None:
    """Concurrent questions take turns within one limit: none is sent before it has waited for its own."""
    waited: list[float] = []
    turn = asyncio.Event()

    async def sleep(seconds: float) -> None:
        """Wait until the test says so."""
        waited.append(seconds)
        await turn.wait()

    clocks = Clocks(monotonic=lambda: 0.0, sleep=sleep)
    async with DodoApi(url, SecretStr(LIVE_KEY), rate=RateLimit((10, 60.0)), patience=HASTY, clocks=clocks) as api:
        asked = [asyncio.create_task(api.customer(f"cus_{number}")) for number in range(25)]
        while sum(one.done() for one in asked) < 10:
            await asyncio.wait([one for one in asked if not one.done()], return_when=asyncio.FIRST_COMPLETED)
        assert waited == pytest.approx([60 * SLACK] * 10 + [120 * SLACK] * 5)
        assert account.statuses == {404: 10}
        turn.set()
        await asyncio.gather(*asked)
    assert account.statuses == {404: 25}


def account_of(answer: Callable[[httpx.Request], httpx.Response]) -> DodoApi:
    """An API that answers so."""
    transport = httpx.MockTransport(answer)
    return DodoApi("https://dodo.example.com", SecretStr("k"), rate=NO_LIMIT, transport=transport)


async def test_endpoints_page_by_page() -> None:
    """Every page is read by the iterator of the one before; an account without the route has no answer."""
    asked: list[str | None] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.params.get("iterator"))
        number = len(asked)
        more = {"done": False, "iterator": f"i{number}"} if number < 3 else {"done": True, "iterator": "i3"}
        return httpx.Response(200, json={"data": [{"url": f"https://example.com/{number}"}], **more})

    async with account_of(answer) as api:
        found = await api.endpoints()
    assert asked == [None, "i1", "i2"]
    assert [one["url"] for one in found or ()] == [f"https://example.com/{number}" for number in (1, 2, 3)]
    async with account_of(lambda _: httpx.Response(404)) as api:
        assert await api.endpoints() is None


async def test_endpoints_without_an_end() -> None:
    """An iterator that never ends is given up after a bound of pages."""
    page = {"data": [{"url": "https://example.com"}], "done": False, "iterator": "again"}
    async with account_of(lambda _: httpx.Response(200, json=page)) as api:
        assert len(await api.endpoints() or ()) == MAX_ENDPOINT_PAGES


async def test_a_product_and_a_page_of_products() -> None:
    """One by its id, or a page of all; behind the last page there are none."""

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/products/pdt_1":
            return httpx.Response(200, json={"product_id": "pdt_1", "name": "Pro"})
        items = [{"product_id": "pdt_1", "name": "Pro"}] if request.url.params["page_number"] == "0" else []
        return httpx.Response(200, json={"items": items})

    async with account_of(answer) as api:
        assert (await api.product("pdt_1") or {})["name"] == "Pro"
        assert [len(await api.products(number)) for number in (0, 1)] == [1, 0]


@pytest.mark.parametrize(
    "url", ["https://example.com:port", "ftp://example.com", "https://user@example.com", "https://example.com?a=1"]
)
def test_an_address_that_is_none(url: str) -> None:
    """Anything but a plain address is the setting's fault, before a request."""
    with pytest.raises(SettingsError, match="PIPELINE_DODO_API_URL"):
        DodoApi(url, SecretStr("k"))
