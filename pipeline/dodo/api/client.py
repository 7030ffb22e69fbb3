"""The client of Dodo's API: what can be read, by route; `requests` sends each one."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from types import TracebackType
from typing import Any, Final, Literal, Self, Unpack, get_args
from urllib.parse import quote

from pydantic import SecretStr

from pipeline.dodo.api.answers import items_of, listed, object_of
from pipeline.dodo.api.requests import Options, Requests
from pipeline.errors import SettingsError, UnexpectedAnswerError
from pipeline.plain_httpx import httpx
from pipeline.settings import Settings

Collection = Literal["payments", "refunds", "subscriptions", "customers"]
COLLECTIONS: Final[tuple[Collection, ...]] = get_args(Collection)

PAGE_SIZE: Final = 100
"""Objects of a page: the maximum of the reference."""

SETTLED: Final[Mapping[Collection, str]] = {"payments": "succeeded", "refunds": "succeeded"}
"""Collections of which objects with one status are read only: with any other, no money moved."""

MAX_ENDPOINT_PAGES: Final = 10
"""Pages of endpoints at most: an account has up to five endpoints; guards against an iterator that does not end."""

TEST_HOST: Final = "test.dodopayments.com"

NO_IDS: Final = frozenset({"", ".", ".."})
"""Texts that no object can have as its id: no request is sent for them."""


class DodoApi:
    """Dodo's API, for one account; `how` are further arguments of `Requests`.

    Every method may raise what `Requests.get` raises.

    Raises:
        SettingsError: the address or the key cannot be used.
    """

    def __init__(self, base_url: str, api_key: SecretStr, **how: Unpack[Options]) -> None:
        self._requests = Requests(base_url, api_key, **how)

    @property
    def base_url(self) -> str:
        """Scheme and host."""
        return self._requests.base_url

    @property
    def requests(self) -> int:
        """How many requests were sent."""
        return self._requests.sent

    def __repr__(self) -> str:
        return f"DodoApi({self.base_url!r})"

    async def page(
        self, collection: Collection, *, since: datetime, until: datetime, number: int
    ) -> list[dict[str, Any]]:
        """One page of the objects created in a range, whose ends may or may not be part of it; empty after the last.

        Pages count from 0. The order of the objects is not documented. List items have fewer fields than the objects
        of webhooks: refunds name no customer, and payments do not show whether they only store a card.

        Raises:
            CredentialError: the key was refused.
            RefusedRequestError: the number of the page is above what the API takes.
            UnexpectedAnswerError: there is no such route.
            DeliveryError: no attempt got a good answer.
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
        return await self._items(path, query)

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
        """One page of all products (`product_id`, `name`, …), empty after the last; pages count from 0.

        Raises:
            UnexpectedAnswerError: there is no such route.
        """
        return await self._items("/products", {"page_size": PAGE_SIZE, "page_number": number})

    async def product(self, product_id: str) -> dict[str, Any] | None:
        """One product, an archived one too; None when the account has none of this id."""
        return await self._object("/products", product_id)

    async def endpoints(self) -> list[dict[str, Any]] | None:
        """Every webhook endpoint of the account (`url`, perhaps `disabled` and `filter_types`, …); None: no such route.

        https://docs.dodopayments.com/api-reference/webhooks/list-webhooks: each page holds an iterator for the next.
        """
        path, found, query = "/webhooks", [], dict[str, str | int](limit=PAGE_SIZE)
        for _ in range(MAX_ENDPOINT_PAGES):
            body = await self._requests.get(path, query)
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
        await self._requests.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _items(self, path: str, query: Mapping[str, str | int]) -> list[dict[str, Any]]:
        body = await self._requests.get(path, query)
        if body is None:
            # Behind the last page is an empty one. This is another server's answer, or a proxy's while Dodo is away:
            # taken for the end, it would leave out what is there.
            raise UnexpectedAnswerError(
                f"Dodo's API at {self.base_url} answered {path} with HTTP 404: is PIPELINE_DODO_API_URL its address?"
            )
        return items_of(body, path)

    async def _object(self, route: str, object_id: str) -> dict[str, Any] | None:
        # An id in a webhook may be any text. With all of it quoted, it cannot lead to another route. Only dots would,
        # since they mean "here" and "above", quoted or not (RFC 3986 §5.2.4), and an empty id would be the collection.
        if object_id in NO_IDS or not _is_text(object_id):
            return None
        body = await self._requests.get(f"{route}/{quote(object_id, safe='')}", {}, shown=route + "/{id}")
        return None if body is None else object_of(body, route + "/{id}")


def open_api(settings: Settings, **how: Unpack[Options]) -> DodoApi:
    """The API of the live account that the settings name; `how` as for `DodoApi`.

    Raises:
        SettingsError: there is no key, or the address is that of test mode, whose data must never get to real people.
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
    """Whether it can be encoded: JSON can hold halves of surrogate pairs, which UTF-8 cannot."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _written(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
