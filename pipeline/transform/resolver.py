"""Asks Dodo's API who a customer is, when a webhook names one by id alone and the state does not know the address.

Nothing here waits: a question is begun, and whoever asked waits for it as long as it likes. While the API is away, or
slow, none is begun. Its pace is its own, far below the account's, so that neither a backfill nor the shop's own use of
the API suffers from it.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple, Protocol, Self

from pipeline import logs
from pipeline.dodo.api import RateLimit, open_api
from pipeline.dodo.api.requests import RetryPolicy
from pipeline.errors import CredentialError, PipelineError, UnexpectedAnswerError
from pipeline.plain_httpx import httpx
from pipeline.settings import Settings
from pipeline.tasks import BackgroundTask, Observer, OnEnd, Tasks

PER_SECOND: Final = 2
"""Half of the 240 a minute of an account of the lowest tier, and evenly: in bursts a minute's worth would be gone at
once, and the rest of the minute without answers."""

MAX_ASKING: Final = 20
"""Questions at once, most of them before their turn: beyond ten seconds' worth nobody would wait for the answer."""

SLOW_S: Final = 2.0
"""An answer that takes longer, from its turn on, shows an API that partitions should not wait for. It is kept."""

AWAY_S: Final = 30.0
"""No question for so long after one that failed or was slow: such an API must not cost each chunk the whole wait."""

GARBAGE_IN_A_ROW: Final = 3
"""Answers that are none, about so many customers one after the other: then it is the API, and not the customers."""

REFUSED_S: Final = 300.0
"""The same after the key was refused, which somebody has to change."""

KNOWN_S: Final = 3600.0
"""A customer's data is asked for again after an hour; until then the state has it, unless the webhook died."""

UNKNOWN_S: Final = 300.0
"""A customer that the API did not know is asked for again after five minutes: it may be that young."""

REMEMBERED: Final = 10_000

LOOK_UP: Final = BackgroundTask("customer look-up", OnEnd.TELL, returns=True)

TIMEOUTS: Final = httpx.Timeout(connect=2.0, pool=2.0, write=2.0, read=4.0)
ANSWER_S: Final = 10.0
"""Nobody waits for it so long; a later answer is kept, one that trickles for ever would keep its connection."""

ONCE: Final = RetryPolicy(attempts=1)

log = logs.get(__name__)


class CustomerSource(Protocol):
    """Where the answers come from (`dodo.api.DodoApi`)."""

    async def customer(self, customer_id: str) -> dict[str, Any] | None:
        """One customer; None without one."""

    async def aclose(self) -> None:
        """Close the connections."""


class FoundCustomer(NamedTuple):
    """A customer as Dodo knew it at `at_s`, unix seconds: `customer_id`, `email`, `name` and perhaps more."""

    customer: Mapping[str, Any]
    at_s: int


Asking = asyncio.Task[None]
"""A question on its way; when it has ended, ask again."""


class Resolver:
    """Who customers are, from Dodo's API.

    Args:
        api: asked for one customer at a time, each once.
        rate: how fast questions may go.
        slow_s: how long an answer may take, from its turn on.
        clock: seconds of an even clock.
        unix: unix seconds, by the clock that webhooks are dated by.
        sleep: waits for a question's turn.
        observers: called with a look-up that failed by a bug.
    """

    def __init__(
        self,
        api: CustomerSource,
        *,
        rate: RateLimit | None = None,
        slow_s: float = SLOW_S,
        clock: Callable[[], float] = time.monotonic,
        unix: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        observers: Sequence[Observer] = (),
    ) -> None:
        self._api = api
        self._rate = rate or RateLimit()
        self._slow_s = slow_s
        self._clock = clock
        self._unix = unix
        self._sleep = sleep
        self._answers: OrderedDict[str, tuple[float, FoundCustomer | None]] = OrderedDict()
        self._tasks = Tasks(observers=observers)
        self._asking: dict[str, Asking] = {}
        self._silent_until = float("-inf")
        self._away = False
        self._garbage = 0

    @classmethod
    def of(
        cls, settings: Settings, observers: Sequence[Observer] = (), unix: Callable[[], float] = time.time
    ) -> Self | None:
        """The resolver of a process; None without a key.

        Raises:
            SettingsError: the key or the address cannot be used.
        """
        if settings.dodo_api_key is None:
            return None
        # The turn is waited for here, so that it is not taken for the API's slowness.
        api = open_api(settings, rate=RateLimit(), patience=ONCE, timeouts=TIMEOUTS, answer_s=ANSWER_S)
        return cls(api, rate=RateLimit((PER_SECOND, 1.0)), observers=observers, unix=unix)

    def ask(self, customer_id: str) -> FoundCustomer | Asking | None:
        """The customer as Dodo knows it, or the question to wait for.

        None when Dodo does not know it, or cannot be asked now. Never raises for what the API does.
        """
        now = self._clock()
        known = self._answers.get(customer_id)
        if known is not None and known[0] > now:
            self._answers.move_to_end(customer_id)
            return known[1]
        asking = self._asking.get(customer_id)
        if asking is None:
            if now < self._silent_until or len(self._asking) >= MAX_ASKING:
                return None
            # Once begun it is never cancelled: that leaks slots of the connection pool
            # (https://github.com/encode/httpcore/issues/1093), and its answer is good for the next webhook.
            asking = self._tasks.start(LOOK_UP, partial(self._ask, customer_id))
            self._asking[customer_id] = asking
            asking.add_done_callback(lambda _: self._asking.pop(customer_id, None))
        return asking

    async def close(self) -> None:
        """Give up what is being asked, and close the connections."""
        await self._tasks.stop()
        await self._api.aclose()

    async def _ask(self, customer_id: str) -> None:
        await self._sleep(self._rate.take(self._clock()))
        if self._clock() < self._silent_until:
            return  # others were asked before it, in vain
        began_at, at_s = self._clock(), int(self._unix())
        slow = asyncio.get_running_loop().call_later(self._slow_s, self._is_slow)
        try:
            found = await self._api.customer(customer_id)
        except CredentialError as error:
            self._silent_until = self._clock() + REFUSED_S
            log.error("Customers cannot be looked up", error=str(error))  # noqa: TRY400 - the message says it all
        except UnexpectedAnswerError as error:
            self._remember(customer_id, None)
            self._is_garbage(str(error))
        except PipelineError as error:
            self._is_away(str(error))
        except Exception:
            self._remember(customer_id, None)  # a bug about this customer, which the end of the task reports
            raise
        else:
            self._garbage = 0
            self._remember(customer_id, None if found is None else FoundCustomer(found, at_s))
            if self._clock() - began_at > self._slow_s:
                self._is_slow()
            elif self._clock() >= self._silent_until:
                self._is_back()
        finally:
            slow.cancel()

    def _remember(self, customer_id: str, found: FoundCustomer | None) -> None:
        self._answers[customer_id] = (self._clock() + (UNKNOWN_S if found is None else KNOWN_S), found)
        self._answers.move_to_end(customer_id)
        if len(self._answers) > REMEMBERED:
            self._answers.popitem(last=False)

    def _is_garbage(self, why: str) -> None:
        self._garbage += 1
        if self._garbage >= GARBAGE_IN_A_ROW:
            self._is_away(why)
        else:
            log.warning("Dodo's API gave no usable answer about one customer, who stays unknown", error=why)

    def _is_slow(self) -> None:
        self._is_away(f"no answer within {self._slow_s:g} s")

    def _is_away(self, why: str) -> None:
        self._silent_until = max(self._silent_until, self._clock() + AWAY_S)
        if not self._away:
            self._away = True
            log.warning(
                "Dodo's API does not answer as it should: webhooks that name a customer by id alone go on by what is "
                "known",
                error=why,
            )

    def _is_back(self) -> None:
        if self._away:
            self._away = False
            log.info("Dodo's API answers again")
