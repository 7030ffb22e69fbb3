"""A loopback stand-in of Dodo's REST API, as strict as the published reference lets it be.

Built from https://docs.dodopayments.com/api-reference and the vendor's Python SDK 1.123: bearer key, `page_size` 10 by
default and 100 at most, `page_number` from 0 and capped, ranges by `created_at`, filters by status, list items with the
fields of the SDK's list models only (a refund names no customer, a payment does not tell a card update), errors as
`{"code", "message"}`, 429 above the account's rate. Whether the ends of a range are part of it is not documented, so
both are left out. Filled from the bodies of webhooks.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

LIVE_KEY: Final = "live.key-of-the-stand-in"

ITEM: Final[dict[str, list[str]]] = orjson.loads(
    (Path(__file__).parents[1] / "data" / "dodo_api" / "list_fields.json").read_bytes()
)
"""Fields of the SDK's list models."""

IDS: Final = {
    "payments": "payment_id",
    "refunds": "refund_id",
    "subscriptions": "subscription_id",
    "customers": "customer_id",
    "products": "product_id",
}
FAMILIES: Final = {"payment": "payments", "refund": "refunds", "subscription": "subscriptions"}

Fault = Callable[[Request], Awaitable[Response | None] | Response | None]


@dataclass
class Account:
    """What the stand-in knows, and how it behaves.

    Attributes:
        objects: collection → id → object, as webhooks show it.
        key: the one key that is taken.
        limits: pairs of count and seconds, sliding.
        monotonic: the clock by which it counts arrivals.
        deepest: the highest page number that is taken.
        first_page: the number of the first page; 1 makes 0 and 1 the same page.
        endpoints: webhook endpoints.
        faults: asked for an answer of their own before each request; one that gives it is used up.
    """

    objects: dict[str, dict[str, dict[str, Any]]] = field(default_factory=lambda: {name: {} for name in IDS})
    key: str = LIVE_KEY
    limits: tuple[tuple[int, float], ...] = ((40, 1.0), (240, 60.0))
    monotonic: Callable[[], float] = time.monotonic
    deepest: int = 10_000
    first_page: int = 0
    faults: list[Fault] = field(default_factory=list)
    endpoints: list[dict[str, Any]] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    arrivals: deque[float] = field(default_factory=deque)

    def reset(self, **how: Any) -> None:
        """Become another account, behind the same server."""
        vars(self).update(vars(Account(**how)))

    def learn(self, bodies: Iterable[bytes]) -> None:
        """Take over what webhooks tell, in their order: the latest state of each object, and its customer."""
        for body in bodies:
            webhook = orjson.loads(body)
            collection = FAMILIES.get(webhook["type"].partition(".")[0])
            if collection is None:
                continue
            data = {name: value for name, value in webhook["data"].items() if name != "payload_type"}
            self.objects[collection][data[IDS[collection]]] = data
            customer = data["customer"]
            known = self.objects["customers"].get(customer["customer_id"], {"created_at": data["created_at"]})
            first = min(known["created_at"], data["created_at"])
            self.objects["customers"][customer["customer_id"]] = {
                **customer,
                "created_at": first,
                "business_id": "bus_1",
            }

    def answer(self, request: Request) -> Response:
        """The answer to one request that no fault has taken."""
        if request.headers.get("authorization") != f"Bearer {self.key}":
            return error(401, "UNAUTHORIZED")
        now = self.monotonic()
        for count, seconds in self.limits:
            within = [at for at in self.arrivals if at > now - seconds]
            if len(within) >= count:
                wait = str(round(within[-count] + seconds - now + 0.05, 2))
                return error(429, "TOO_MANY_REQUESTS", {"Retry-After": wait})
        self.arrivals.append(now)
        collection = request.path_params["collection"]
        if collection == "webhooks":
            return self._endpoints(request)
        objects = self.objects.get(collection)
        if objects is None:
            return error(404, "NOT_FOUND")
        object_id = request.path_params.get("object_id")
        if object_id is not None:
            found = objects.get(object_id)
            return error(404, "NOT_FOUND") if found is None else json(found)
        return self._list(collection, list(objects.values()), request)

    def _endpoints(self, request: Request) -> Response:
        """Pages by iterator, of 100 at most, as the reference of `GET /webhooks` shows them."""
        start, size = int(request.query_params.get("iterator", 0)), int(request.query_params.get("limit", 50))
        stop = start + min(size, 100)
        done = stop >= len(self.endpoints)
        return json({"data": self.endpoints[start:stop], "done": done, "iterator": None if done else str(stop)})

    def _list(self, collection: str, objects: list[dict[str, Any]], request: Request) -> Response:
        query = request.query_params
        try:
            size, number = int(query.get("page_size", 10)), int(query.get("page_number", 0))
            since, until = (
                datetime.fromisoformat(query[name]) if name in query else None
                for name in ("created_at_gte", "created_at_lte")
            )
        except ValueError:
            return error(422, "INVALID_REQUEST_PARAMETERS")
        if not 0 <= size <= 100 or not 0 <= number <= self.deepest:
            return error(422, "INVALID_REQUEST_PARAMETERS")
        found = [
            item
            for item in objects
            if (since is None or datetime.fromisoformat(item["created_at"]) > since)
            and (until is None or datetime.fromisoformat(item["created_at"]) < until)
            and query.get("status", item.get("status")) == item.get("status")
        ]
        found.sort(key=lambda item: (item["created_at"], item[IDS[collection]]), reverse=True)
        start = max(0, number - self.first_page) * size
        fields = ITEM[collection]
        items = [{k: v for k, v in item.items() if k in fields} for item in found[start : start + size]]
        return json({"items": items})


def json(document: Any, status: int = 200) -> Response:
    """A JSON answer."""
    return Response(orjson.dumps(document), status, media_type="application/json")


def error(status: int, code: str, headers: dict[str, str] | None = None) -> Response:
    """An error as the reference shows it; the message quotes, as some do, what no log may hold."""
    return JSONResponse({"code": code, "message": "customer jiwoo.han@example.com"}, status, headers)


def app_of(account: Account) -> Starlette:
    """The account's API as an ASGI application."""

    async def answer(request: Request) -> Response:
        account.requests.append(f"{request.url.path}?{request.url.query}".rstrip("?"))
        for fault in list(account.faults):
            found = fault(request)
            response = await found if isinstance(found, Awaitable) else found
            if response is not None:
                account.faults.remove(fault)
                break
        else:
            response = account.answer(request)
        account.statuses[response.status_code] += 1
        return response

    return Starlette(routes=[Route("/{collection}", answer), Route("/{collection}/{object_id}", answer)])


@contextlib.asynccontextmanager
async def serving(account: Account) -> AsyncIterator[str]:
    """Serve `account` on a free loopback port; yields the address."""
    config = uvicorn.Config(
        app_of(account),
        host="127.0.0.1",
        port=0,
        log_level="critical",
        lifespan="off",
        ws="none",
        timeout_graceful_shutdown=2,
    )
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    serve = asyncio.create_task(server._serve())
    async with asyncio.timeout(300):
        while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.005)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await serve


@contextlib.contextmanager
def served(account: Account) -> Iterator[str]:
    """The same from a thread of its own, for commands that have an event loop of their own."""
    addresses: queue.Queue[str] = queue.Queue()
    loop = asyncio.new_event_loop()
    ending = asyncio.Event()

    async def serve() -> None:
        async with serving(account) as url:
            addresses.put(url)
            await ending.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), daemon=True)
    thread.start()
    try:
        yield addresses.get(timeout=300)
    finally:
        loop.call_soon_threadsafe(ending.set)
        thread.join(30)
        loop.close()
