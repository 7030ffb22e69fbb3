"""One question to Dodo's API at a time: paced, repeated while it may help, answered or explained."""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, Final, Literal, Self, get_args
from urllib.parse import quote

from pydantic import SecretStr

from pipeline import __version__
from pipeline.deadline import bounded, within
from pipeline.dodo.api.answers import (
    NOT_FOUND,
    OK,
    TOO_MANY,
    is_retried,
    items_of,
    listed,
    object_of,
    refuse,
)
from pipeline.dodo.api.rate import RateLimit
from pipeline.errors import DeliveryError, SettingsError, UnexpectedAnswerError
from pipeline.plain_httpx import httpx
from pipeline.proxies import heeding
from pipeline.retry import full_jitter, retry_after_s
from pipeline.settings import Settings
from pipeline.urls import base_address

Collection = Literal["payments", "refunds", "subscriptions", "customers"]
COLLECTIONS: Final[tuple[Collection, ...]] = get_args(Collection)

PAGE_SIZE: Final = 100
"""The reference's maximum."""

SETTLED: Final[Mapping[Collection, str]] = {"payments": "succeeded", "refunds": "succeeded"}
"""Collections that are asked for one status only: no other one moves money."""

MAX_ENDPOINT_PAGES: Final = 10
"""An account has up to five endpoints; guards against an iterator that does not end."""

TEST_HOST: Final = "test.dodopayments.com"

TIMEOUTS: Final = httpx.Timeout(connect=5.0, pool=5.0, write=5.0, read=30.0)
"""A list over a long range is a slow query."""

ANSWER_S: Final = 60.0
"""What the vendor's SDK waits for a whole answer. Guards the four connections against one that trickles."""

_KEY = re.compile(r"[!-~]+")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a request is sent before it counts as failed, and how long the pauses are.

    With these figures an API that is away is waited for about a minute, two at most.
    """

    attempts: int = 10
    first_s: float = 0.5
    longest_s: float = 30.0

    def pause_s(self, failures: int, chance: float) -> float:
        """Seconds after so many failures in a row; `chance` in [0, 1) spreads those who failed together."""
        return full_jitter(failures, chance, first_s=self.first_s, longest_s=self.longest_s)


@dataclass(frozen=True, slots=True)
class Clocks:
    """Seconds of an even clock, unix seconds, and how to wait for the former."""

    monotonic: Callable[[], float] = time.monotonic
    unix: Callable[[], float] = time.time
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


NO_IDS: Final = frozenset({"", ".", ".."})
"""Texts that an object cannot have for an id, so none is asked for by them."""


class DodoApi:
    """A keep-alive connection to one host, for one account.

    Args:
        base_url: scheme and host.
        api_key: sent as a bearer token; neither shown nor logged.
        rate: how fast requests may go.
        patience: how often one is repeated.
        timeouts: of each attempt's phases.
        answer_s: of each attempt, from its start to the end of its answer.
        transport: replaces the network, for tests.
        clocks: of rate and pauses.

    Raises:
        SettingsError: the address or the key cannot be used.
    """

    def __init__(
        self,
        base_url: str,
        api_key: SecretStr,
        *,
        rate: RateLimit | None = None,
        patience: RetryPolicy = RetryPolicy(),
        timeouts: httpx.Timeout = TIMEOUTS,
        answer_s: float = ANSWER_S,
        transport: httpx.AsyncBaseTransport | None = None,
        clocks: Clocks = Clocks(),
    ) -> None:
        self.base_url: Final = _checked(base_url)
        self.requests = 0
        self._rate = rate or RateLimit.of_account()
        self._patience = patience
        self._clocks = clocks
        self._answer_s = answer_s
        self._http = bounded(
            heeding(
                lambda: httpx.AsyncClient(
                    base_url=self.base_url,
                    headers={
                        "Authorization": f"Bearer {_usable(api_key)}",
                        "Accept": "application/json",
                        "User-Agent": f"dodo-customerio/{__version__}",
                    },
                    timeout=timeouts,
                    limits=httpx.Limits(max_connections=4, max_keepalive_connections=2),
                    transport=transport,
                    follow_redirects=False,
                )
            )
        )

    def __repr__(self) -> str:
        return f"DodoApi({self.base_url!r})"

    async def page(
        self, collection: Collection, *, since: datetime, until: datetime, number: int
    ) -> list[dict[str, Any]]:
        """One page of what was created in a range, whose ends may or may not be part of it; empty behind the last.

        Pages count from 0. In which order objects come is not documented. List items have fewer fields than the
        objects of webhooks: refunds name no customer, payments do not tell a card update.

        Raises:
            CredentialError: the key was refused.
            RefusedRequestError: the number of the page is above what the API takes.
            DeliveryError: no good answer within the patience.
        """
        path = f"/{collection}"
        query: dict[str, str | int] = {
            "created_at_gte": _written(since),
            "created_at_lte": _written(until),
            "page_size": PAGE_SIZE,
            "page_number": number,
        }
        if collection in SETTLED:
            query["status"] = SETTLED[collection]
        body = await self._get(path, query)
        return [] if body is None else items_of(body, path)

    async def payment(self, payment_id: str) -> dict[str, Any] | None:
        """One payment with its customer, None when the account has none of this id."""
        return await self._object("/payments", payment_id)

    async def subscription(self, subscription_id: str) -> dict[str, Any] | None:
        """One subscription with its customer, None when the account has none of this id."""
        return await self._object("/subscriptions", subscription_id)

    async def customer(self, customer_id: str) -> dict[str, Any] | None:
        """One customer: `customer_id`, `email`, `name`, perhaps `phone_number` and `metadata`; None without one."""
        return await self._object("/customers", customer_id)

    async def products(self, number: int) -> list[dict[str, Any]]:
        """One page of all products (`product_id`, `name`, …), empty behind the last; pages count from 0."""
        path = "/products"
        body = await self._get(path, {"page_size": PAGE_SIZE, "page_number": number})
        return [] if body is None else items_of(body, path)

    async def product(self, product_id: str) -> dict[str, Any] | None:
        """One product, an archived one too; None when the account has none of this id."""
        return await self._object("/products", product_id)

    async def endpoints(self) -> list[dict[str, Any]] | None:
        """Every webhook endpoint of the account (`url`, perhaps `disabled` and `filter_types`, …); None: no such route.

        https://docs.dodopayments.com/api-reference/webhooks/list-webhooks: pages are told by an iterator.
        """
        path, found, query = "/webhooks", [], dict[str, str | int](limit=PAGE_SIZE)
        for _ in range(MAX_ENDPOINT_PAGES):
            body = await self._get(path, query)
            if body is None:
                return None
            page = object_of(body, path)
            found += listed(page, "data", path)
            if page.get("done") is not False or not isinstance(page.get("iterator"), str):
                break
            query["iterator"] = page["iterator"]
        return found

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _object(self, route: str, object_id: str) -> dict[str, Any] | None:
        # The id of a webhook is anybody's text. Quoted whole, it cannot lead to another route; dots alone would, since
        # they mean "here" and "above" quoted or not (RFC 3986 §5.2.4), and nothing would be the collection.
        if object_id in NO_IDS or not _is_text(object_id):
            return None
        body = await self._get(f"{route}/{quote(object_id, safe='')}", {}, shown=route + "/{id}")
        return None if body is None else object_of(body, route + "/{id}")

    async def _get(self, path: str, query: Mapping[str, str | int], *, shown: str | None = None) -> bytes | None:
        """The body of a good answer, None for 404."""
        shown = shown or path
        failures = 0
        while True:
            await self._turn()
            failed: type[DeliveryError] = DeliveryError
            trouble, wait_s = "no answer", None
            try:
                with within(self._answer_s):
                    answer = await self._http.get(path, params=query)
            except httpx.DecodingError as error:  # it did answer, only what?
                trouble, failed = f"{type(error).__name__} {error}".strip(), UnexpectedAnswerError
            except (httpx.HTTPError, httpx.StreamError, OSError) as error:
                trouble = f"{type(error).__name__} {error}".strip()
            else:
                if answer.status_code == OK:
                    return answer.content
                if answer.status_code == NOT_FOUND:
                    return None
                if not is_retried(answer.status_code):
                    refuse(answer.status_code, answer.content, shown, self.base_url)
                trouble = f"HTTP {answer.status_code}"
                wait_s = retry_after_s(answer.headers.get("retry-after"), now_s=self._clocks.unix())
                if answer.status_code == TOO_MANY:
                    # Somebody else spends the same account's rate: the next request would be refused as well.
                    self._rate.hold(self._clocks.monotonic() + (1.0 if wait_s is None else wait_s))
            failures += 1
            if failures >= self._patience.attempts:
                raise failed(
                    f"Dodo's API at {self.base_url} gave no good answer to {shown} in {failures} attempts, "
                    f"at last: {trouble}"
                )
            pause_s = self._patience.pause_s(failures, random.random())  # noqa: S311 - spreads requests
            await self._clocks.sleep(max(pause_s, wait_s or 0.0))

    async def _turn(self) -> None:
        wait_s = self._rate.take(self._clocks.monotonic())
        if wait_s > 0:
            await self._clocks.sleep(wait_s)
        self.requests += 1


def open_api(settings: Settings, **how: Any) -> DodoApi:
    """The API of the live account that the settings name; `how` are keyword arguments of `DodoApi`.

    Raises:
        SettingsError: there is no key, or the address is that of test mode, whose data must never reach real people.
    """
    if settings.dodo_api_key is None:
        raise SettingsError(
            "PIPELINE_DODO_API_KEY is not set: a live-mode key of Dodo's dashboard (Developer, API Keys; reading is "
            "enough)"
        )
    api = DodoApi(settings.dodo_api_url, settings.dodo_api_key, **how)
    if httpx.URL(api.base_url).host.removesuffix(".") == TEST_HOST:
        raise SettingsError(
            f"PIPELINE_DODO_API_URL: {TEST_HOST} has test-mode data, which never enters the customers' state"
        )
    return api


def _is_text(value: str) -> bool:
    """Whether it has a form in bytes: JSON can hold halves of surrogate pairs, which have none."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _written(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _checked(base_url: str) -> str:
    try:
        return str(httpx.URL(base_address(base_url))).rstrip("/")
    except ValueError as error:
        raise SettingsError(f"PIPELINE_DODO_API_URL: {error}") from None


def _usable(api_key: SecretStr) -> str:
    key = api_key.get_secret_value().strip().removeprefix("Bearer ").strip()
    if not _KEY.fullmatch(key):
        raise SettingsError("PIPELINE_DODO_API_KEY has characters that no key has: was it copied with its line break?")
    return key
