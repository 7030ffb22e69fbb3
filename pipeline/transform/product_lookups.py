"""Asks Dodo's API what products are called: all at the start and now and then, and one whenever an unknown id comes.

A record waits for the name of a new product, for a set time at most, since the first mail about it is the one that
counts; then it goes on without. While the API is away or slow nobody waits. Once begun a question is never cancelled,
and its answer is there for the next record. For names that have changed nobody waits.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal, Protocol, Self

from pipeline import logs
from pipeline.dodo.api import RateLimit, open_api
from pipeline.errors import CredentialError, PipelineError, UnexpectedAnswerError
from pipeline.settings import Settings
from pipeline.tasks import BackgroundTask, Observer, OnEnd, Tasks
from pipeline.transform.product_names import ProductNames
from pipeline.transform.resolver import ANSWER_S, AWAY_S, ONCE, REFUSED_S, TIMEOUTS
from pipeline.transform.webhook import Reading, Webhook

PER_SECOND: Final = 1
"""A new product is rare; with the customers' two a second this stays within the account's 240 a minute."""

MAX_ASKING: Final = 10

UNKNOWN_S: Final = 600.0
"""A product without a name, or that the account does not have, is asked for again after ten minutes."""

REMEMBERED: Final = 10_000

MAX_PAGES: Final = 200
"""20,000 products: more than are remembered."""

PAGE_AGAIN_S: Final = 10.0
"""Between two pages that are read again: a new product, for which a record waits, finds the account's limit free."""

ALL: Final = BackgroundTask("reading of products", OnEnd.TELL, returns=True)
AGAIN: Final = BackgroundTask("product names again", OnEnd.RESTART)
LOOK_UP: Final = BackgroundTask("product look-up", OnEnd.TELL, returns=True)

PRODUCT_ID: Final = re.compile(rb'"product_id"\s*:\s*"([A-Za-z0-9_-]{1,96})"')
"""Looked for before the body is parsed, since nearly every product is known."""

log = logs.get(__name__)


class Products(Protocol):
    """Where the answers come from (`dodo.api.DodoApi`)."""

    async def products(self, number: int) -> list[dict[str, Any]]:
        """One page of all products, empty behind the last; pages count from 0."""

    async def product(self, product_id: str) -> dict[str, Any] | None:
        """One product; None without one."""

    async def aclose(self) -> None:
        """Close the connections."""


@dataclass(frozen=True, slots=True)
class ProductLookedUp:
    """A product was asked for. `nameless`: the account has none of this id, or without a name."""

    outcome: Literal["found", "nameless", "failed"]


Waiting = asyncio.Future[None]


class ProductLookups:
    """The step before the decision that makes unknown products known.

    Args:
        api: asked.
        names: what is known, and where answers go.
        wait_s: how long a record may wait for an answer; 0: never.
        again_s: how often all are read again; 0: never.
        rate: how fast questions may go.
        clock: seconds of an even clock.
        sleep: waits for a question's turn.
        observe: called with each answer.
        observers: called with a look-up that failed by a bug.
    """

    def __init__(
        self,
        api: Products,
        names: ProductNames,
        *,
        wait_s: float,
        again_s: float = 0,
        rate: RateLimit | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        observe: Callable[[ProductLookedUp], None] = lambda _: None,
        observers: Sequence[Observer] = (),
    ) -> None:
        self._api = api
        self._names = names
        self._wait_s = wait_s
        self._again_s = again_s
        self._rate = rate or RateLimit()
        self._clock = clock
        self._sleep = sleep
        self._observe = observe
        self._tasks = Tasks(observers=observers)
        self._asking: dict[str, Waiting] = {}
        self._all: Waiting | None = None
        self._reading = False
        self._nameless: OrderedDict[str, float] = OrderedDict()
        self._silent_until = float("-inf")
        self._is_away = False

    @classmethod
    def of(cls, settings: Settings, names: ProductNames, **how: Any) -> Self | None:
        """The look-ups of a process; None without a key.

        Raises:
            SettingsError: the key or the address cannot be used.
        """
        if settings.dodo_api_key is None:
            return None
        api = open_api(settings, rate=RateLimit(), patience=ONCE, timeouts=TIMEOUTS, answer_s=ANSWER_S)
        wait_s, again_s = settings.product_name_wait_seconds, settings.product_names_refresh_seconds
        return cls(api, names, wait_s=wait_s, again_s=again_s, rate=RateLimit((PER_SECOND, 1.0)), **how)

    async def start(self) -> None:
        """Begin to read all products; returns at once."""
        self._reading = True
        self._all = self._waiting()
        self._tasks.start(ALL, self._read_first)
        if self._again_s > 0:
            self._tasks.start(AGAIN, self._keep_reading)

    async def close(self) -> None:
        """Give up what is being asked, and close the connections."""
        await self._tasks.stop()
        await self._api.aclose()

    def missing(self, reading: Reading, *, waits: bool) -> Waiting | None:
        """What to wait for before this webhook is decided, if the caller `waits`; None, as nearly always: go on.

        Never raises for what the record holds or the API does. Test-mode products are not the live account's.
        """
        if type(reading) is not Webhook or reading.delivery.mode != "live" or reading.record is None:
            return None
        body = reading.record.value
        if body is None or body.find(b'"product_id"') < 0:
            return None
        unknown = {found for one in PRODUCT_ID.findall(body) if (found := one.decode()) not in self._names}
        if not unknown:
            return None
        if self._reading:
            waiting = [] if self._all is None else [self._all]
        else:
            waiting = [one for product_id in sorted(unknown) if (one := self._ask(product_id)) is not None]
        return next((one for one in waiting if not one.done()), None) if waits and self._wait_s > 0 else None

    def _ask(self, product_id: str) -> Waiting | None:
        asking, now = self._asking.get(product_id), self._clock()
        if asking is not None or self._nameless.get(product_id, now) > now:
            return asking
        if now < self._silent_until or len(self._asking) >= MAX_ASKING:
            return None
        asking = self._asking[product_id] = self._waiting()
        task = self._tasks.start(LOOK_UP, partial(self._look_up, product_id))
        task.add_done_callback(lambda _: self._end(self._asking.pop(product_id, None)))
        return asking

    def _waiting(self) -> Waiting:
        """Done with an answer, and after the set time in any case."""
        loop = asyncio.get_running_loop()
        waiting: Waiting = loop.create_future()
        loop.call_later(self._wait_s, self._end, waiting)
        return waiting

    def _end(self, waiting: Waiting | None) -> None:
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    async def _read_first(self) -> None:
        try:
            await self._read_all(self._turn)
            await asyncio.to_thread(self._names.keep, self._names.written())
            log.info("The names of products were read", products=len(self._names))
        except PipelineError as error:
            self._failed(error)
        finally:
            self._reading = False
            self._end(self._all)

    async def _keep_reading(self) -> None:
        while True:
            await self._sleep(self._again_s)
            if self._reading or self._clock() < self._silent_until:
                continue
            try:
                if await self._read_all(self._pause):
                    await asyncio.to_thread(self._names.keep, self._names.written())
                    log.info("Products have other names by now, or there are more", products=len(self._names))
            except PipelineError as error:
                self._failed(error)

    async def _pause(self) -> None:
        await self._sleep(PAGE_AGAIN_S)

    async def _read_all(self, turn: Callable[[], Awaitable[None]]) -> int:
        """Learn every page, each once it is its `turn`; how many names are news."""
        seen: set[Any] = set()
        repeated, news = False, 0
        for number in range(MAX_PAGES):
            await turn()
            page = await self._api.products(number)
            ids = {product.get("product_id") for product in page}
            # The reference counts pages from 0, the vendor's SDK from 1: both may be the first, a third is the end.
            if not page or (repeated and ids <= seen):
                break
            repeated = ids <= seen
            seen |= ids
            news += sum(map(self._names.learn, page))
        return news

    async def _look_up(self, product_id: str) -> None:
        await self._turn()
        if self._clock() < self._silent_until:
            return  # others were asked before it, in vain
        try:
            found = await self._api.product(product_id)
        except UnexpectedAnswerError as error:
            self._forget(product_id)
            self._observe(ProductLookedUp("failed"))
            log.warning(
                "Dodo's API gave no usable answer about a product, which stays without a name", error=str(error)
            )
        except PipelineError as error:
            self._failed(error)
            self._observe(ProductLookedUp("failed"))
        else:
            self._is_away = False
            is_news = found is not None and self._names.learn({**found, "product_id": product_id})
            if product_id in self._names:
                self._observe(ProductLookedUp("found"))
            else:
                self._forget(product_id)
                self._observe(ProductLookedUp("nameless"))
            if is_news:
                self._end(self._asking.get(product_id))  # nobody waits for the disk
                await asyncio.to_thread(self._names.keep, self._names.written())

    async def _turn(self) -> None:
        await self._sleep(self._rate.take(self._clock()))

    def _forget(self, product_id: str) -> None:
        self._nameless[product_id] = self._clock() + UNKNOWN_S
        self._nameless.move_to_end(product_id)
        if len(self._nameless) > REMEMBERED:
            self._nameless.popitem(last=False)

    def _failed(self, error: PipelineError) -> None:
        is_refused = isinstance(error, CredentialError)
        self._silent_until = self._clock() + (REFUSED_S if is_refused else AWAY_S)
        if not self._is_away:
            self._is_away = True
            log.warning("Products cannot be looked up at Dodo: events go on with the names that are known",
                        error=str(error))  # fmt: skip
