"""A request goes to a broker that can answer it, and again while what hinders it passes."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pytest
from aiokafka.errors import KafkaConnectionError, NodeNotReadyError, RequestTimedOutError
from aiokafka.structs import BrokerMetadata

from pipeline.errors import BrokerUnreachableError
from pipeline.kafka.reach import Heard
from pipeline.kafka.requests import PASSING, PATIENCE_S, UNKNOWN_TOPIC, Requests, To
from tests.virtual import run_virtual

T = TypeVar("T")
NOT_CONTROLLER, REFUSED = 41, 44
SLOW_S = 5.0


@dataclass
class Answer:
    """What a broker says."""

    code: int = 0
    error_code: int = 0
    coordinator_id: int = 0


class PlayedRequest:
    """Any request."""


def codes(answer: Answer) -> list[int]:
    """Where its code stands."""
    return [answer.code]


@dataclass
class Cluster:
    """Metadata as a client has it, and brokers that a test plays: `says[node](attempt)` answers or raises."""

    says: dict[int, Callable[[int], Any]]
    controllers: list[int | None] = field(default_factory=lambda: [1])
    asked: list[int] = field(default_factory=list)
    learned: int = 0
    hidden: bool = False

    @property
    def cluster(self) -> Cluster:
        """The client's name for it."""
        return self

    @property
    def controller(self) -> BrokerMetadata | None:
        """The first of `controllers`; each look at the metadata takes one away but for the last."""
        node = self.controllers[0]
        return None if node is None else self._broker(node)

    def brokers(self) -> set[BrokerMetadata]:
        """All of them, or the given addresses while none is known."""
        if self.hidden:
            return {BrokerMetadata("bootstrap-0", "given", 9092, None)}
        return {self._broker(node) for node in self.says}

    def force_metadata_update(self) -> asyncio.Future[bool]:
        """Look once more."""
        self.learned += 1
        if len(self.controllers) > 1:
            del self.controllers[0]
            self.hidden = False
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        done.set_result(True)
        return done

    async def send(self, node: int, _: Any) -> Any:
        """One attempt."""
        self.asked.append(node)
        said = self.says[node](self.asked.count(node))
        if isinstance(said, Exception):
            raise said
        if said is None:
            await asyncio.sleep(SLOW_S)
            raise RequestTimedOutError
        return said

    @staticmethod
    def _broker(node: int) -> BrokerMetadata:
        return BrokerMetadata(node, f"kafka-{node}", 9092, None)


def asking(cluster: Cluster, ask: Callable[[Requests], Coroutine[Any, Any, T]], heard: Heard | None = None) -> T:
    """Run `ask` in virtual time."""

    async def run() -> T:
        return await ask(Requests(cluster, heard or Heard()))

    return run_virtual(run())


def always(said: Any) -> Callable[[int], Any]:
    """The same at every attempt."""
    return lambda _: said


@pytest.mark.parametrize(
    "error", [NodeNotReadyError(), KafkaConnectionError(), RequestTimedOutError(), OSError(), None]
)
def test_one_dead_broker_of_three_is_no_fault(error: Exception | None) -> None:
    """Whoever is asked first, another one answers, and the dead one is asked once at most."""
    for _ in range(20):
        cluster = Cluster({1: always(error), 2: always(Answer()), 3: always(Answer())})
        assert asking(cluster, lambda requests: requests.ask(PlayedRequest(), codes)) == Answer()
        assert cluster.asked.count(1) <= 1


def test_an_order_goes_to_the_controller() -> None:
    """And after a refusal to the one that the cluster then names."""
    cluster = Cluster({1: always(Answer()), 2: always(Answer()), 3: always(Answer())}, controllers=[3])
    asking(cluster, lambda requests: requests.ask(PlayedRequest(), codes, to=To.CONTROLLER))
    assert cluster.asked == [3]
    moved = Cluster({1: always(Answer()), 2: always(Answer(NOT_CONTROLLER)), 3: always(Answer())}, controllers=[2, 3])
    asking(moved, lambda requests: requests.ask(PlayedRequest(), codes, to=To.CONTROLLER))
    assert moved.asked == [2, 3]


def test_a_dead_controller_is_not_asked_again() -> None:
    """While metadata still names it, another broker gets the order: with KRaft it passes it on."""
    cluster = Cluster({1: always(NodeNotReadyError()), 2: always(Answer())}, controllers=[1])
    assert asking(cluster, lambda requests: requests.ask_maybe_twice(PlayedRequest(), codes)) == (Answer(), False)
    assert cluster.asked == [1, 2]


def test_a_cluster_that_has_just_started_is_waited_for() -> None:
    """Its metadata names neither controller nor brokers: nobody is asked before it does."""
    cluster = Cluster({1: always(Answer())}, controllers=[None, None, None, 1], hidden=True)
    asking(cluster, lambda requests: requests.ask(PlayedRequest(), codes, to=To.CONTROLLER))
    assert cluster.asked == [1]


@pytest.mark.parametrize("code", sorted(PASSING))
def test_what_passes_is_asked_again(code: int) -> None:
    """A leader that is being elected, a coordinator that moves, a controller that is another one."""
    cluster = Cluster({1: lambda attempt: Answer(code if attempt < 5 else 0)})
    assert asking(cluster, lambda requests: requests.ask(PlayedRequest(), codes)) == Answer()
    assert len(cluster.asked) == 5


def test_a_refusal_is_an_answer() -> None:
    """What does not pass is given back at once, an unknown topic too unless somebody has just created it."""
    for code in (REFUSED, UNKNOWN_TOPIC):
        cluster = Cluster({1: always(Answer(code))})
        assert asking(cluster, lambda requests: requests.ask(PlayedRequest(), codes)) == Answer(code)
        assert len(cluster.asked) == 1
    fresh = Cluster({1: lambda attempt: Answer(UNKNOWN_TOPIC if attempt < 3 else 0)})
    passing = PASSING | {UNKNOWN_TOPIC}
    assert asking(fresh, lambda requests: requests.ask(PlayedRequest(), codes, passing=passing)) == Answer()


@pytest.mark.parametrize(("first", "maybe"), [(None, True), (NodeNotReadyError(), False), (Answer(7), True)])
def test_an_order_that_may_have_been_carried_out(first: Any, maybe: bool) -> None:
    """After an attempt of which nobody knows what came, "exists already" may be our own doing."""
    cluster = Cluster({1: lambda attempt: first if attempt == 1 else Answer(36)})
    answer, maybe_done = asking(cluster, lambda requests: requests.ask_maybe_twice(PlayedRequest(), codes))
    assert (answer.code, maybe_done) == (36, maybe)


def test_nobody_answers() -> None:
    """After half a minute the error names each broker with its reason, and does not blame the given addresses."""
    heard = Heard()
    heard.emit(_line("Unable connect to node with id %s: %s", 1, ConnectionRefusedError("Connect call failed")))
    cluster = Cluster({1: always(NodeNotReadyError()), 2: always(None), 3: always(Answer(7))})

    async def ask(requests: Requests) -> float:
        with pytest.raises(BrokerUnreachableError) as caught:
            await requests.ask(PlayedRequest(), codes)
        said = str(caught.value)
        assert "a request (Played)" in said
        assert "roker 1 at kafka-1:9092: Connect call failed" in said
        assert re.search("roker 2 at kafka-2:9092: (RequestTimedOut|Timeout)Error", said)
        assert "roker 3 at kafka-3:9092: RequestTimedOutError" in said
        assert "BOOTSTRAP_SERVERS" not in said
        return asyncio.get_running_loop().time()

    assert asking(cluster, ask, heard) == pytest.approx(PATIENCE_S, abs=1.0)
    assert min(cluster.asked.count(node) for node in (1, 2, 3)) > 1


def test_no_controller_is_said() -> None:
    """A quorum without a leader takes no orders, however many brokers answer."""
    cluster = Cluster({1: always(Answer())}, controllers=[None])

    async def ask(requests: Requests) -> None:
        with pytest.raises(BrokerUnreachableError, match="The cluster has no controller yet"):
            await requests.ask(PlayedRequest(), codes, to=To.CONTROLLER)

    asking(cluster, ask)
    assert not cluster.asked


def test_a_coordinator_that_moves_is_followed() -> None:
    """The broker that was named is dead or says that it is another one: the cluster is asked anew."""
    named = iter((1, 2, 3))

    def tells(_: int) -> Answer:
        return Answer(coordinator_id=next(named))

    class Moving(Cluster):
        async def send(self, node: int, request: Any) -> Any:
            if isinstance(request, PlayedRequest):
                return await super().send(node, request)
            return tells(node)

    cluster = Moving({1: always(NodeNotReadyError()), 2: always(Answer(16)), 3: always(Answer())})
    assert asking(cluster, lambda requests: requests.ask_coordinator("g", PlayedRequest(), codes)) == Answer()
    assert cluster.asked == [1, 2, 3]


def test_each_broker_is_asked() -> None:
    """Once; those that do not answer are left out."""
    cluster = Cluster({1: always(Answer(1)), 2: always(KafkaConnectionError()), 3: always(Answer(3))})
    answers = asking(cluster, lambda requests: requests.ask_each(PlayedRequest()))
    assert sorted(answer.code for answer in answers) == [1, 3]
    assert sorted(cluster.asked) == [1, 2, 3]


def _line(text: str, *args: Any) -> logging.LogRecord:
    return logging.LogRecord("aiokafka", logging.ERROR, "", 0, text, args, None)
