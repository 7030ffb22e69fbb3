"""One request to the cluster: sent to a broker that can answer it, and again while what hinders it passes.

A cluster of which a broker has just died, started, or stopped being the controller is a healthy cluster. A question to
one broker, asked once, is lost with that broker; so each goes to another one after every failure, until somebody
answers or `PATIENCE_S` have passed.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from contextlib import asynccontextmanager
from enum import Enum, auto
from typing import Any, Final

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import (
    BrokerResponseError,
    KafkaConnectionError,
    NodeNotReadyError,
    RequestTimedOutError,
    StaleMetadata,
    for_code,
)
from aiokafka.protocol.coordination import FindCoordinatorRequest

from pipeline.errors import BrokerUnreachableError
from pipeline.kafka.reach import Heard, connecting, hearing
from pipeline.kafka.reconnect import steady
from pipeline.kafka.security import client_options
from pipeline.settings import Settings

PATIENCE_S: Final = 30.0
"""A dead broker is fenced, and its leaderships and coordinators are others', after 9 s (KRaft) or 18 s (ZooKeeper)."""

REQUEST_TIMEOUT_MS: Final = 5_000
"""For one attempt, its connection included: a frozen broker must leave time for the others. A person waits, too."""

RETRY_S: Final = 0.1
LONGEST_RETRY_S: Final = 1.0
LOOK_S: Final = 2.0
"""For the brokers' list, between two attempts; it comes later if need be."""

UNREACHED: Final = (KafkaConnectionError, NodeNotReadyError, RequestTimedOutError, StaleMetadata, OSError)
"""No answer from this broker (TimeoutError is an OSError); another one may have it."""

NOT_SENT: Final = (NodeNotReadyError, StaleMetadata)
"""Certainly nothing was done."""

UNKNOWN_TOPIC: Final = 3
PASSING: Final = frozenset(
    {
        *(5, 6, 8),  # no leader yet, another leader, broker not available
        *(7, 13, 56, 89),  # timed out between brokers, network, storage, throttled
        *(14, 15, 16),  # coordinator loading, not available, not here
        41,  # not the controller
    }
)
"""Error codes after which the same request may well be answered a moment later, or by another broker."""


class To(Enum):
    """Who can answer."""

    ANY = auto()
    """Every broker."""
    CONTROLLER = auto()
    """The controller; with KRaft any broker passes it on."""


Codes = Callable[[Any], Iterable[int]]
"""The error codes in an answer, of which any may mean that it must be sent again."""


@asynccontextmanager
async def open_requests(
    settings: Settings, *, connect_within_s: float = 0.0, patience_s: float = PATIENCE_S
) -> AsyncIterator[Requests]:
    """A connected `Requests`, closed at the end.

    Raises:
        BrokerUnreachableError: no broker could be reached within `connect_within_s`, or it refused us.
        SettingsError: the connection's settings cannot be used.
    """
    client = steady(AIOKafkaClient(**client_options(settings), request_timeout_ms=REQUEST_TIMEOUT_MS))
    with hearing() as heard:
        try:
            await connecting(settings, client.bootstrap, within_s=connect_within_s)
            yield Requests(client, heard, patience_s)
        finally:
            await client.close()


class Requests:
    """Sends requests over one client; made by `open_requests`."""

    def __init__(self, client: AIOKafkaClient, heard: Heard, patience_s: float = PATIENCE_S) -> None:
        self._client = client
        self._heard = heard
        self._patience_s = patience_s

    @property
    def brokers(self) -> list[int]:
        """Ids of the brokers that the cluster has, as far as is known; empty before its first answer."""
        return [broker.nodeId for broker in self._client.cluster.brokers() if isinstance(broker.nodeId, int)]

    async def ask(self, request: Any, codes: Codes, *, to: To = To.ANY, passing: Collection[int] = PASSING) -> Any:
        """The answer, once one has no code in it that passes.

        Raises:
            BrokerUnreachableError: nobody answered in time; the message has each broker's answer.
        """
        return await self._again(self._attempts(request, codes, passing), request, to)

    async def ask_maybe_twice(self, request: Any, codes: Codes) -> tuple[Any, bool]:
        """Order something of the controller; the answer, and whether an earlier attempt may have been carried out.

        Then a refusal because it is done already is ours.

        Raises:
            BrokerUnreachableError: as `ask`.
        """
        attempts = self._attempts(request, codes)
        answer = await self._again(attempts, request, To.CONTROLLER)
        return answer, attempts.maybe_done

    async def ask_coordinator(self, group: str, request: Any, codes: Codes) -> Any:
        """The answer of the group's coordinator. The first question about any group makes a cluster elect one.

        Raises:
            BrokerUnreachableError: as `ask`.
        """
        attempts, finding = self._attempts(request, codes), FindCoordinatorRequest(group, 0)
        while True:
            looking = self._attempts(finding, lambda told: [told.error_code])
            looking.until = attempts.until
            found = await self._again(looking, finding, To.ANY)
            if found.error_code:
                return found
            answer = await self._attempt(attempts, request, found.coordinator_id)
            if answer is not None:
                return answer
            await self._pause(attempts)

    async def ask_each(self, request: Any) -> list[Any]:
        """What each broker answers that answers at all, each asked once."""
        attempts = self._attempts(request, lambda _: ())
        answers = [await self._attempt(attempts, request, node) for node in self.brokers]
        return [answer for answer in answers if answer is not None]

    async def ask_one(self, node: int, request: Any) -> Any:
        """What this broker answers, asked once; None when it does not."""
        return await self._attempt(self._attempts(request, lambda _: ()), request, node)

    def _attempts(self, request: Any, codes: Codes, passing: Collection[int] = PASSING) -> _Attempts:
        until = asyncio.get_running_loop().time() + self._patience_s
        return _Attempts(type(request).__name__.removesuffix("Request"), codes, passing, until)

    async def _again(self, attempts: _Attempts, request: Any, to: To) -> Any:
        while True:
            node = self._choose(to, attempts)
            if node is None:
                await self._look_around()
                node = self._choose(to, attempts)
            answer = await self._attempt(attempts, request, node) if node is not None else None
            if answer is not None:
                return answer
            await self._pause(attempts)

    def _choose(self, to: To, attempts: _Attempts) -> Any:
        """A broker that failed least often; None while the cluster's brokers are not known."""
        controller = self._client.cluster.controller
        if to is To.CONTROLLER:
            # A cluster that has just started has no controller, and nobody to whom partitions could be given.
            if controller is None:
                return attempts.nobody("the cluster has no controller yet")
            if not attempts.failures(controller.nodeId):
                return controller.nodeId
        nodes = self.brokers
        if not nodes:
            return attempts.nobody("the cluster has no brokers yet")
        fewest = min(map(attempts.failures, nodes))
        return random.choice([node for node in nodes if attempts.failures(node) == fewest])  # noqa: S311 - no secret

    async def _attempt(self, attempts: _Attempts, request: Any, node: Any) -> Any:
        """The node's answer; None when another one is to be asked."""
        try:
            async with asyncio.timeout_at(attempts.until):
                answer = await self._client.send(node, request)
        except UNREACHED as error:
            attempts.unreached(node, self._heard.of_node(node) or repr(error), sent=not isinstance(error, NOT_SENT))
            return None
        code = next((code for code in attempts.codes(answer) if code in attempts.passing), 0)
        if not code:
            return answer
        attempts.refused(node, code)
        return None

    async def _pause(self, attempts: _Attempts) -> None:
        if asyncio.get_running_loop().time() >= attempts.until:
            places = {broker.nodeId: f"{broker.host}:{broker.port}" for broker in self._client.cluster.brokers()}
            error = BrokerUnreachableError(attempts.told(places, self._patience_s))
            error.may_pass = True
            raise error
        await asyncio.sleep(min(RETRY_S * 2 ** min(attempts.count, 10), LONGEST_RETRY_S))
        await self._look_around()

    async def _look_around(self) -> None:
        """Ask which brokers there are and who is the controller, for a moment."""
        await asyncio.wait({self._client.force_metadata_update()}, timeout=LOOK_S)


class _Attempts:
    """What came of one request so far."""

    def __init__(self, name: str, codes: Codes, passing: Collection[int], until: float) -> None:
        self.codes = codes
        self.passing = passing
        self.until = until
        self.count = 0
        self.maybe_done = False
        self._name = name
        self._failures: dict[Any, int] = {}
        self._said: dict[Any, str] = {}

    def failures(self, node: Any) -> int:
        """Of this broker."""
        return self._failures.get(node, 0)

    def unreached(self, node: Any, why: str, *, sent: bool) -> None:
        """No answer came; `sent` when the broker may have got it."""
        self.maybe_done |= sent
        self._failed(node, why)

    def refused(self, node: Any, code: int) -> None:
        """The broker cannot answer now."""
        self.maybe_done |= code not in {6, 8, 14, 15, 16, 41}
        self._failed(node, for_code(code).__name__)

    def nobody(self, why: str) -> None:
        """There was none to ask."""
        self._said[None] = why

    def _failed(self, node: Any, why: str) -> None:
        self.count += 1
        self._failures[node] = self.failures(node) + 1
        self._said[node] = why
        self._said.pop(None, None)

    def told(self, places: dict[Any, str], seconds: float) -> str:
        """For the operator; the addresses that he gave are right, or there would be no brokers to name."""
        told = "; ".join(
            why if node is None else f"broker {node} at {places.get(node, 'an unknown address')}: {why}"
            for node, why in self._said.items()
        )
        return (
            f"the Kafka cluster was reached, but for {seconds:.0f} s no broker answered a request "
            f"({self._name}). {told[:1].upper()}{told[1:]}. Are enough brokers "
            "running, and can these addresses (advertised.listeners) be reached from here?"
        )


def named(code: int) -> str:
    """The error in Kafka's words."""
    error: type[BrokerResponseError] = for_code(code)
    return str(getattr(error, "message", None) or error.__name__)
