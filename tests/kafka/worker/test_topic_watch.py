"""What a consumer's thread sees of its topics, and how soon: in time that jumps, at whatever moment a topic returns."""

from __future__ import annotations

import asyncio
import base64
from types import SimpleNamespace
from typing import Any, Final, cast

import pytest

from pipeline.kafka.requests import UNKNOWN_TOPIC
from pipeline.kafka.worker.consumer_thread import COORDINATION_LOOK_S, TOPICS_LOOKS, ConsumerThread
from pipeline.kafka.worker.topic_watch import WITHIN_S, TopicWatch
from tests.virtual import run_virtual

TOPIC: Final = "webhooks"
LOOK_EVERY_S: Final = COORDINATION_LOOK_S * TOPICS_LOOKS
FIRST, SECOND = b"first-topic-of-1", b"second-topic-of2"


class Cluster:
    """A topic at a broker, and a client that knows of it what it asked for last."""

    def __init__(self) -> None:
        self.partitions = 0
        self.id = FIRST
        self.known: set[int] = set()
        self.answers_in_s = 0.0
        self.metadata_in_s = 0.0
        self.seen_at: list[float] = []
        self.joins = 0

    def brokers(self) -> list[Any]:
        """One of them."""
        return [SimpleNamespace(nodeId=1)]

    def partitions_for_topic(self, _: str) -> set[int]:
        """As the client knows them."""
        return self.known

    async def send(self, _node: int, _request: Any) -> Any:
        """What the broker knows when it answers."""
        await asyncio.sleep(self.answers_in_s)
        topic = {
            "name": TOPIC,
            "topic_id": self.id,
            "error_code": 0 if self.partitions else UNKNOWN_TOPIC,
            "partitions": [None] * self.partitions,
            "topic_authorized_operations": 0,
        }
        return SimpleNamespace(to_object=lambda: {"topics": [topic]})

    def force_metadata_update(self) -> asyncio.Future[bool]:
        """The client learns what there is, when a broker has answered."""
        loop = asyncio.get_running_loop()
        updated = loop.create_future()

        def learn() -> None:
            self.known = set(range(self.partitions))
            self.seen_at.append(loop.time())
            updated.set_result(True)

        loop.call_later(self.metadata_in_s, learn)
        return updated

    def request_rejoin(self) -> None:
        """The group is joined again."""
        self.joins += 1


class Thread(ConsumerThread):
    """The consumer's thread, as far as it looks at topics; it stops when it is told to."""

    app = cast("Any", SimpleNamespace(batch_topics={TOPIC}))
    stops = False

    def __init__(self, cluster: Cluster) -> None:
        coordinator = SimpleNamespace(request_rejoin=cluster.request_rejoin, _pending_exception=None)
        client = SimpleNamespace(
            cluster=cluster, send=cluster.send, force_metadata_update=cluster.force_metadata_update
        )
        self._topics = TopicWatch()
        self._consumer = SimpleNamespace(_client=client, _coordinator=coordinator)

    @property
    def should_stop(self) -> bool:
        """See `stops`."""
        return self.stops

    async def sleep(self, seconds: Any) -> None:
        """In virtual time."""
        await asyncio.sleep(seconds)

    def _refusal(self) -> BaseException | None:
        return None


async def watched(cluster: Cluster, life: Any) -> TopicWatch:
    """The watch, once `life` came to its end beside it."""
    thread = Thread(cluster)
    thread._topics.ids = {TOPIC: base64.urlsafe_b64encode(FIRST).decode().rstrip("=")}
    looking = asyncio.create_task(thread._look_again_and_again())
    await life
    thread.stops = True
    await looking
    return thread._topics


@pytest.mark.parametrize("answers_in_s", [0.0, WITHIN_S * 0.9])
@pytest.mark.parametrize("returns_at_s", [0.0, 0.5, 2.9, 3.0, 3.1, 4.0, 5.9, 100.25, 299.0])
def test_a_return_is_seen_by_the_next_look(returns_at_s: float, answers_in_s: float) -> None:
    """Whenever the topic is back, the client asks for its partitions within one round of looks and one answer."""
    cluster = Cluster()
    cluster.answers_in_s = answers_in_s

    async def life() -> None:
        await asyncio.sleep(returns_at_s)
        cluster.partitions = 3
        await asyncio.sleep(3 * LOOK_EVERY_S)

    watch = run_virtual(watched(cluster, life()))
    assert cluster.known == {0, 1, 2}
    assert returns_at_s <= cluster.seen_at[0] <= returns_at_s + LOOK_EVERY_S + WITHIN_S
    assert len(cluster.seen_at) == 1  # what is known is not asked for again
    missed = returns_at_s > LOOK_EVERY_S + answers_in_s
    assert [back.topic for back in watch.absences.flowing({TOPIC})] == ([TOPIC] if missed else [])


def test_an_answer_that_does_not_come_costs_one_look() -> None:
    """A broker that is silent for a while holds the looks up for no longer than their limit each."""
    cluster = Cluster()
    silent_s = 60.0

    async def life() -> None:
        cluster.answers_in_s = 10 * WITHIN_S
        await asyncio.sleep(silent_s)
        cluster.answers_in_s, cluster.partitions = 0.0, 1
        await asyncio.sleep(3 * LOOK_EVERY_S)

    run_virtual(watched(cluster, life()))
    assert silent_s <= cluster.seen_at[0] <= silent_s + WITHIN_S + LOOK_EVERY_S


def test_a_topic_made_anew_between_two_looks() -> None:
    """The next look joins the group again, once, and the topic counts as missed until then."""
    cluster = Cluster()
    cluster.partitions, cluster.known = 1, {0}

    async def life() -> None:
        await asyncio.sleep(4 * LOOK_EVERY_S)
        assert (cluster.joins, cluster.seen_at) == (0, [])
        cluster.id = SECOND
        await asyncio.sleep(LOOK_EVERY_S + WITHIN_S)
        assert cluster.joins == 1
        await asyncio.sleep(4 * LOOK_EVERY_S)

    watch = run_virtual(watched(cluster, life()))
    assert (cluster.joins, len(cluster.seen_at)) == (1, 1)
    assert [back.topic for back in watch.absences.flowing({TOPIC})] == [TOPIC]


async def asked(cluster: Cluster) -> None:
    """What an assignment begins with: the ids of its topics."""
    thread = Thread(cluster)
    ids = await thread._topics.ask(thread._consumer, {TOPIC})
    assert list(ids) == [TOPIC]


def test_an_assignment_begins_with_all_partitions_known() -> None:
    """The leader knew of more partitions than this member, which keeps its old ones: its part of all is by all."""
    cluster = Cluster()
    cluster.partitions, cluster.known, cluster.metadata_in_s = 10, set(range(8)), 0.3
    run_virtual(asked(cluster))
    assert cluster.known == set(range(10))
    run_virtual(asked(cluster))
    assert len(cluster.seen_at) == 1  # what is known is not asked for again


def test_an_assignment_does_not_wait_for_metadata_for_long() -> None:
    """A broker that is slow to tell the partitions holds the assignment up for no longer than the limit."""
    cluster = Cluster()
    cluster.partitions, cluster.known, cluster.metadata_in_s = 10, set(range(8)), 10 * WITHIN_S

    async def took_s() -> float:
        loop = asyncio.get_running_loop()
        began = loop.time()
        await asked(cluster)
        return loop.time() - began

    assert run_virtual(took_s()) == pytest.approx(WITHIN_S)
