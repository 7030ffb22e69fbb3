"""Requests to Dodo's API: one at a time within the account's rate, retried while that may help."""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypedDict

from pydantic import SecretStr

from pipeline import __version__
from pipeline.deadline import bounded, within
from pipeline.dodo.api.answers import NOT_FOUND, OK, TOO_MANY, is_retried, refuse
from pipeline.dodo.api.rate import RateLimit
from pipeline.errors import DeliveryError, SettingsError, UnexpectedAnswerError
from pipeline.plain_httpx import httpx
from pipeline.proxies import heeding
from pipeline.retry import full_jitter, retry_after_s
from pipeline.urls import base_address

TIMEOUTS: Final = httpx.Timeout(connect=5.0, pool=5.0, write=5.0, read=30.0)
"""Of each attempt's phases; reading is slow for a list over a long range."""

ANSWER_S: Final = 60.0
"""How long the vendor's SDK waits for a whole answer. Guards the four connections against one that trickles."""

_KEY = re.compile(r"[!-~]+")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a request is sent before it counts as failed, and how long the pauses are.

    With these figures an API that does not answer is waited for about a minute, two at most.
    """

    attempts: int = 10
    first_s: float = 0.5
    longest_s: float = 30.0

    def pause_s(self, failures: int, chance: float) -> float:
        """Seconds to wait after so many failures in a row; `chance` in [0, 1) spreads clients that failed together."""
        return full_jitter(failures, chance, first_s=self.first_s, longest_s=self.longest_s)


@dataclass(frozen=True, slots=True)
class Clocks:
    """A monotonic clock in seconds, the time in unix seconds, and a pause; tests replace them."""

    monotonic: Callable[[], float] = time.monotonic
    unix: Callable[[], float] = time.time
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


class Options(TypedDict, total=False):
    """The arguments of `Requests` that have a default."""

    rate: RateLimit | None
    patience: RetryPolicy
    timeouts: httpx.Timeout
    answer_s: float
    transport: httpx.AsyncBaseTransport | None
    clocks: Clocks


class Requests:
    """A keep-alive connection to one host, for one account.

    Args:
        base_url: scheme and host.
        api_key: sent as a bearer token; neither shown nor logged.
        rate: the limit of the rate of requests.
        patience: how often a request is sent, and with what pauses.
        timeouts: of each attempt's phases.
        answer_s: seconds for each attempt, from its start to the end of its answer.
        transport: replaces the network, for tests.
        clocks: of rate and pauses.

    Attributes:
        base_url: without a slash at its end.
        sent: how many requests were sent.

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
        self.sent = 0
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

    async def get(self, path: str, query: Mapping[str, str | int], *, shown: str | None = None) -> bytes | None:
        """The body of a good answer, None for 404; `shown` is the path for messages.

        Raises:
            CredentialError: the key was refused.
            RefusedRequestError: a parameter was refused.
            DeliveryError: no attempt got a good answer.
        """
        shown = shown or path
        failures = 0
        while True:
            await self._turn()
            failed: type[DeliveryError] = DeliveryError
            trouble, wait_s = "no answer", None
            try:
                with within(self._answer_s):
                    answer = await self._http.get(path, params=query)
            except httpx.DecodingError as error:  # it answered, but nobody can read it
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
                    # Another client uses up the same account's rate: the next request would be refused as well.
                    self._rate.hold(self._clocks.monotonic() + (1.0 if wait_s is None else wait_s))
            failures += 1
            if failures >= self._patience.attempts:
                raise failed(
                    f"Dodo's API at {self.base_url} gave no good answer to {shown} in {failures} attempts, "
                    f"at last: {trouble}"
                )
            pause_s = self._patience.pause_s(failures, random.random())  # noqa: S311 - spreads requests
            await self._clocks.sleep(max(pause_s, wait_s or 0.0))

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _turn(self) -> None:
        wait_s = self._rate.take(self._clocks.monotonic())
        if wait_s > 0:
            await self._clocks.sleep(wait_s)
        self.sent += 1


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
