"""The HTTP client of the Track API: sends a body once, and returns the answer, or raises whether it may have arrived.

It decides nothing: it does not retry, follow redirects or read answers (`interpreter` does). A request that has begun
is never cancelled, because a cancelled request may have been applied all the same, and because cancelling leaks slots
of the connection pool (https://github.com/encode/httpcore/issues/1093).
"""

from __future__ import annotations

import asyncio
import base64
import importlib.util
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self, cast

from pydantic import SecretStr

from pipeline import __version__
from pipeline.customerio.timeouts import Timeouts
from pipeline.deadline import bounded, within
from pipeline.errors import RequestUnansweredError, SettingsError
from pipeline.plain_httpx import httpx
from pipeline.proxies import heeding
from pipeline.reasons import clean_reason

BATCH_PATH: Final = "/api/v2/batch"
REGION_PATH: Final = "/api/v1/accounts/region"

ANSWER_MAX_BYTES: Final = 8_000_000
"""Guards the memory. A refusal of every one of 5,000 small operations is below 2 MB."""

KEEPALIVE_S: Final = 15.0
"""Idle connections close from our side, before load balancers drop them in the middle of a request."""

CONNECTIONS_PER_LANE: Final = 4
"""A lane has one request in flight, and those that it gave up at the deadline, until their phase timeouts end them."""

NOT_SENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)
"""No connection: nothing can have arrived. After any other failure the request may have been applied."""


STALE: Final = "the time in which the request might leave was over before it did"

if importlib.util.find_spec("sniffio") is None:
    # httpcore asks for it several times a request, and Python searches its whole path anew for a module that is not
    # there: 0.3 ms of each request. None marks a module as missing (importlib's documentation).
    sys.modules["sniffio"] = None  # type: ignore[assignment]


@dataclass(frozen=True, slots=True)
class Response:
    """An answer as it came. Header names are matched in any case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class TrackClient:
    """One keep-alive pool to one host of the Track API.

    Args:
        base_url: scheme, host and optional path prefix.
        site_id: user name of the Track API.
        api_key: password of the Track API; neither shown nor logged.
        lanes: requests that may be in flight at once.
        transport: replaces the network, for tests.
        timeouts: how long each phase may take.

    Raises:
        SettingsError: the address or the site id cannot be used.
    """

    def __init__(
        self,
        base_url: str,
        site_id: str,
        api_key: str | SecretStr,
        *,
        lanes: int = 8,
        transport: httpx.AsyncBaseTransport | None = None,
        timeouts: Timeouts = Timeouts(),  # noqa: B008 - frozen
    ) -> None:
        self.base_url: Final = _checked(base_url)
        self._timeouts = timeouts
        self._in_flight: set[asyncio.Task[Response]] = set()
        limits = httpx.Limits(
            max_connections=lanes * CONNECTIONS_PER_LANE, max_keepalive_connections=lanes, keepalive_expiry=KEEPALIVE_S
        )
        self._http = bounded(heeding(lambda: httpx.AsyncClient(limits=limits, transport=transport)))
        self._batch_url = httpx.URL(self.base_url + BATCH_PATH)
        self._region_url = httpx.URL(self.base_url + REGION_PATH)
        # What the client does around a transport (merging of headers and addresses, cookies, redirects, logins by
        # challenge) is half of what a small request costs, and none of it is needed: requests go to the transport
        # directly. It is the pool of this host, or that of the proxy that the environment names for it.
        self._transport = self._http._transport_for_url(self._batch_url)  # noqa: SLF001 - there is no public way
        self._request = _requests(self._batch_url.netloc, _basic(site_id, api_key))
        self._phases: Final = timeouts.by_phase.as_dict()

    def __repr__(self) -> str:
        return f"TrackClient({self.base_url!r})"

    @property
    def in_flight(self) -> int:
        """Requests that have begun and not ended, those given up at the deadline included."""
        return len(self._in_flight)

    async def send_batch(self, body: bytes, may_leave: Callable[[], bool] | None = None) -> Response:
        """Send `body` to `/api/v2/batch`, byte for byte, and return the answer.

        `may_leave` is called when the connection is open and nothing was written yet; if it returns False, nothing is
        sent: a process that was frozen while it connected must not go on as if no time had passed.

        After the deadline, and when the caller is cancelled, the request continues in the background until it ends by
        itself. Send the same bytes again then: events have an id, by which Customer.io ignores a second arrival.

        Raises:
            RequestUnansweredError: there is no answer; `sent` is False only if nothing can have arrived.
        """
        extensions: dict[str, Any] = {"timeout": self._phases}
        if may_leave is not None:
            extensions["trace"] = _guard(may_leave)
        return await self._send(self._request("POST", self._batch_url, body, extensions))

    async def ask_region(self) -> Response:
        """Ask which region the credentials belong to; either host answers.

        Raises:
            RequestUnansweredError: no answer.
        """
        return await self._send(self._request("GET", self._region_url, b"", {"timeout": self._phases}))

    async def drained(self) -> None:
        """Return when no request is in flight; new ones may begin meanwhile."""
        while self._in_flight:
            await asyncio.wait(set(self._in_flight))

    async def aclose(self) -> None:
        """Wait for every request in flight, then close the pool.

        A request that is still there after `Timeouts.close_s` loses its connection.
        """
        waiting = asyncio.ensure_future(self.drained())
        await asyncio.wait({waiting}, timeout=self._timeouts.close_s)
        await self._http.aclose()
        await waiting

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _send(self, request: httpx.Request) -> Response:
        task = asyncio.create_task(self._exchange(request))
        self._in_flight.add(task)
        task.add_done_callback(self._ended)
        # `wait` leaves the task alone at the timeout and when this call is cancelled.
        deadline_s = self._timeouts.deadline_s
        done, _ = await asyncio.wait({task}, timeout=deadline_s)
        if not done:
            raise RequestUnansweredError(f"{self.base_url} did not answer within {deadline_s:g} s", sent=True)
        return task.result()

    def _ended(self, task: asyncio.Task[Response]) -> None:
        self._in_flight.discard(task)
        if not task.cancelled():
            task.exception()  # marks it as retrieved: after the deadline nobody else reads the error

    async def _exchange(self, request: httpx.Request) -> Response:
        until = time.monotonic() + self._timeouts.answer_s
        try:
            with within(self._timeouts.answer_s):
                response = await self._transport.handle_async_request(request)
                try:
                    return Response(response.status_code, response.headers, await self._read(response))
                finally:
                    await response.aclose()
        except _NotAllowedError:
            raise RequestUnansweredError(f"nothing was sent to {self.base_url}: {STALE}", sent=False) from None
        except (httpx.HTTPError, httpx.StreamError, OSError) as error:
            if time.monotonic() >= until:
                raise RequestUnansweredError(
                    f"{self.base_url} did not end its answer within {self._timeouts.answer_s:g} s", sent=True
                ) from None
            detail = clean_reason(f"{type(error).__name__} {error}")  # it may quote what came
            raise RequestUnansweredError(
                f"{self.base_url} did not answer: {detail}", sent=not isinstance(error, NOT_SENT)
            ) from None

    async def _read(self, response: httpx.Response) -> bytes:
        chunks: list[bytes] = []
        size = 0
        # The request accepts no encoding; a server may use one all the same.
        parts = response.aiter_bytes() if "content-encoding" in response.headers else response.stream
        async for chunk in cast("AsyncIterator[bytes]", parts):
            chunks.append(chunk)
            size += len(chunk)
            if size > ANSWER_MAX_BYTES:
                raise RequestUnansweredError(
                    f"{self.base_url} answered with more than {ANSWER_MAX_BYTES:,} bytes", sent=True
                )
        return b"".join(chunks)


class _NotAllowedError(Exception):
    """`may_leave` returned False: the request must no longer be sent."""


def _requests(host: bytes, authorization: str) -> Callable[[str, httpx.URL, bytes, dict[str, Any]], httpx.Request]:
    """A function that makes requests; the credentials are only in its closure, so that no `repr` shows them."""
    always = [
        (b"Host", host),
        (b"Authorization", authorization.encode("ascii")),
        (b"Accept", b"application/json"),
        (b"Accept-Encoding", b"identity"),  # answers are a few bytes
        (b"Connection", b"keep-alive"),
        (b"User-Agent", f"dodo-customerio/{__version__}".encode("ascii")),
    ]

    def request(method: str, url: httpx.URL, body: bytes, extensions: dict[str, Any]) -> httpx.Request:
        headers = always
        if method == "POST":
            headers = [*always, (b"Content-Type", b"application/json"), (b"Content-Length", b"%d" % len(body))]
        # With a stream httpx adds no header of its own.
        return httpx.Request(method, url, headers=headers, stream=httpx.ByteStream(body), extensions=extensions)

    return request


def _guard(may_leave: Callable[[], bool]) -> Callable[[str, Any], Awaitable[None]]:
    """A trace function (httpx: extensions) that calls `may_leave` before the first byte is written."""

    async def trace(event: str, _: Any) -> None:
        if event == "http11.send_request_headers.started" and not may_leave():
            raise _NotAllowedError

    return trace


def _checked(base_url: str) -> str:
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL:
        url = httpx.URL("")
    if url.scheme not in {"http", "https"} or not url.host:
        raise SettingsError("PIPELINE_CUSTOMERIO_URL must look like https://track.customer.io")
    if url.userinfo or url.query or url.fragment:
        raise SettingsError(
            "PIPELINE_CUSTOMERIO_URL must be an address alone; credentials belong in PIPELINE_CUSTOMERIO_SITE_ID and "
            "PIPELINE_CUSTOMERIO_API_KEY"
        )
    return str(url).rstrip("/")


def _basic(site_id: str, api_key: str | SecretStr) -> str:
    """RFC 7617 with standard base64; the vendor's Go library alone uses the URL-safe alphabet."""
    user = site_id.strip()
    if ":" in user:
        raise SettingsError("PIPELINE_CUSTOMERIO_SITE_ID must not contain a colon: is it `site id:API key` together?")
    password = (api_key.get_secret_value() if isinstance(api_key, SecretStr) else api_key).strip()
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode("ascii")
