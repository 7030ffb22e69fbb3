"""Asks Dodo's API who a customer is, when a webhook names one by id alone and the state does not know the address.

Bounded: a question ends within seconds, and while the API is away none is asked. What cannot be answered in time is
None: the webhook then goes on by what is known. Its pace is its own, far below the account's, so that neither a
backfill nor the shop's own use of the API suffers from it.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, Protocol, Self

import httpx

from pipeline import logs
from pipeline.dodo.api import RateLimit, open_api
from pipeline.dodo.api.client import Patience
from pipeline.errors import CredentialError, PipelineError
from pipeline.settings import Settings
from pipeline.tasks import BackgroundTask, Observer, OnEnd, Tasks

PER_SECOND: Final = 2
"""Half of the 240 a minute of an account of the lowest tier, and evenly: in bursts a minute's worth would be gone at
once, and the rest of the minute without answers."""

WITHIN_S: Final = 5.0
"""Longest wait for an answer, the turn included. The partition stands still meanwhile; a later answer is still kept."""

AWAY_S: Final = 30.0
"""No question for so long after one that failed: an API that is away must not cost each webhook the whole wait."""

REFUSED_S: Final = 300.0
"""The same after the key was refused, which somebody has to change."""

KNOWN_S: Final = 3600.0
"""A customer's data is asked for again after an hour; until then the state has it, unless the webhook died."""

UNKNOWN_S: Final = 300.0
"""A customer that the API did not know is asked for again after five minutes: it may be that young."""

REMEMBERED: Final = 10_000

LOOK_UP: Final = BackgroundTask("customer look-up", OnEnd.TELL, returns=True)

TIMEOUTS: Final = httpx.Timeout(connect=2.0, pool=2.0, write=2.0, read=4.0)
ANSWER_S: Final = 2 * WITHIN_S
"""Nobody waits for it so long; a later answer is kept, one that trickles for ever would keep its connection."""

ONCE: Final = Patience(attempts=1)

log = logs.get(__name__)


class Customers(Protocol):
    """Where the answers come from (`dodo.api.DodoApi`)."""

    async def customer(self, customer_id: str) -> dict[str, Any] | None:
        """One customer; None without one."""

    async def aclose(self) -> None:
        """Close the connections."""


class Resolver:
    """Who customers are, from Dodo's API.

    Args:
        api: asked for one customer at a time, each once.
        within_s: the longest wait for an answer.
        clock: seconds of an even clock.
    """

    def __init__(
        self,
        api: Customers,
        *,
        within_s: float = WITHIN_S,
        clock: Callable[[], float] = time.monotonic,
        observers: Sequence[Observer] = (),
    ) -> None:
        self._api = api
        self._within_s = within_s
        self._clock = clock
        self._answers: OrderedDict[str, tuple[float, Mapping[str, Any] | None]] = OrderedDict()
        self._tasks = Tasks(observers=observers)
        self._asking: dict[str, asyncio.Task[Mapping[str, Any] | None]] = {}
        self._silent_until = float("-inf")
        self._away = False

    @classmethod
    def of(cls, settings: Settings, observers: Sequence[Observer] = ()) -> Self | None:
        """The resolver of a process; None without a key.

        Raises:
            SettingsError: the key or the address cannot be used.
        """
        if settings.dodo_api_key is None:
            return None
        rate = RateLimit((PER_SECOND, 1.0))
        api = open_api(settings, rate=rate, patience=ONCE, timeouts=TIMEOUTS, answer_s=ANSWER_S)
        return cls(api, observers=observers)

    async def contact(self, customer_id: str) -> Mapping[str, Any] | None:
        """The customer as Dodo knows it: `customer_id`, `email`, `name`, perhaps `phone_number` and `metadata`.

        None when Dodo does not know it or cannot be asked now. Never raises for what the API does.
        """
        now = self._clock()
        known = self._answers.get(customer_id)
        if known is not None and known[0] > now:
            self._answers.move_to_end(customer_id)
            return known[1]
        asking = self._asking.get(customer_id)
        if asking is None:
            if now < self._silent_until:
                return None
            asking = self._tasks.start(LOOK_UP, partial(self._ask, customer_id))
            self._asking[customer_id] = asking
        # A request that has begun is never cancelled: that leaks slots of the connection pool
        # (https://github.com/encode/httpcore/issues/1093), and its answer is good for the next webhook.
        done, _ = await asyncio.wait({asking}, timeout=self._within_s)
        if not done:
            self._is_away(now, f"no answer within {self._within_s:g} s")
            return None
        if asking.cancelled() or (error := asking.exception()) is not None:  # a bug, which was told
            self._is_away(now, "the look-up was cancelled" if asking.cancelled() else repr(error))
            return None
        return asking.result()

    async def close(self) -> None:
        """Give up what is being asked, and close the connections."""
        await self._tasks.stop()
        await self._api.aclose()

    async def _ask(self, customer_id: str) -> Mapping[str, Any] | None:
        try:
            found = await self._api.customer(customer_id)
        except CredentialError as error:
            self._silent_until = self._clock() + REFUSED_S
            log.error("Customers cannot be looked up", error=str(error))  # noqa: TRY400 - the message says it all
            return None
        except PipelineError as error:
            self._is_away(self._clock(), str(error))
            return None
        finally:
            self._asking.pop(customer_id, None)
        self._is_back()
        self._answers[customer_id] = (self._clock() + (UNKNOWN_S if found is None else KNOWN_S), found)
        self._answers.move_to_end(customer_id)
        if len(self._answers) > REMEMBERED:
            self._answers.popitem(last=False)
        return found

    def _is_away(self, now: float, why: str) -> None:
        self._silent_until = max(self._silent_until, now + AWAY_S)
        if not self._away:
            self._away = True
            log.warning(
                "Dodo's API does not answer: webhooks that name a customer by id alone go on by what is known",
                error=why,
            )

    def _is_back(self) -> None:
        if self._away:
            self._away = False
            log.info("Dodo's API answers again")
