"""Each background task of the project is killed, as nobody should be able to, and what was declared follows.

Killed twice over: cancelled by somebody who had no business with it, and by an error that nobody expected. A task that
is declared and has no test here fails the last one.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import pkgutil
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import pipeline
from pipeline.demo import run as demo
from pipeline.errors import BrokenSequenceError, DeliveryError, SettingsError
from pipeline.http import server as http_server
from pipeline.ingest import producer as ingest
from pipeline.ingest.producer import DurableProducer
from pipeline.ingest.workers.supervisor import WORKER, Supervisor
from pipeline.kafka.closing import close_producer
from pipeline.kafka.connection import Connection
from pipeline.kafka.fetched import FetchedRecord
from pipeline.kafka.producer.appending import Appender
from pipeline.kafka.producer.aside import Aside
from pipeline.kafka.producer.outgoing import OutgoingChunk
from pipeline.kafka.producer.producer import BatchProducer
from pipeline.kafka.records import OutRecord
from pipeline.kafka.worker.batches import RecordBatch
from pipeline.kafka.worker.consumer_thread import ConsumerThread
from pipeline.kafka.worker.transport import Consumer
from pipeline.settings import Settings
from pipeline.sink.removals import LookAhead, Removals
from pipeline.sink.sink import Sink
from pipeline.statestore.cleanup import Cleanup
from pipeline.statestore.partition_count import PartitionWatch
from pipeline.statestore.partitions import PartitionStores
from pipeline.tasks import DECLARED, OnEnd, TaskFailed, Tasks
from pipeline.transform.parked import Chunk, Parked
from pipeline.transform.product_lookups import ProductLookups
from pipeline.transform.product_names import ProductNames
from pipeline.transform.resolver import Resolver
from pipeline.transform.shaping.loading import shaper_of
from pipeline.transform.shaping.reloading import LiveShaper
from pipeline.transform.webhook import read
from pipeline.watch.health import Health
from pipeline.watch.loop import LoopLag
from pipeline.watch.losses import Losses
from pipeline.watch.metrics import Metrics
from pipeline.watch.server import HealthServer
from pipeline.watch.unread import Unread
from pipeline.watch.vitals import Verdict
from tests.asking import local_client
from tests.statestore.schemas import LARGEST

WITHIN_S = 60.0
"""Limit of every wait; reaching it is a failure, whatever the machine does besides."""


class Bug(Exception):  # noqa: N818 - it is one
    """What nobody expected."""


@dataclass
class Victim:
    """What a scenario shows: the task to kill, what was heard of it, and whether its work goes on.

    `works` is set whenever the task does its work; `poison` makes the next piece of work raise it.
    """

    name: str
    works: asyncio.Event = field(default_factory=asyncio.Event)
    events: list[Any] = field(default_factory=list)
    crashes: list[BaseException] = field(default_factory=list)
    poison: BaseException | None = None

    def work(self, *_: Any) -> None:
        """One piece of it."""
        error, self.poison = self.poison, None
        if error is not None:
            raise error
        self.works.set()

    async def forever(self, *_: Any, **__: Any) -> None:
        """Work until ended."""
        while True:
            self.work()
            await asyncio.sleep(0.01)

    def hear(self, event: Any) -> None:
        """An observer."""
        if isinstance(event, TaskFailed):
            self.events.append(event)

    @property
    def tasks(self) -> list[asyncio.Task[Any]]:
        """The running ones of this name."""
        return [task for task in asyncio.all_tasks() if task.get_name().startswith(self.name)]

    async def kill(self, how: str) -> None:
        """And return when its end was heard of."""
        if how == "cancelled":
            (task, *_) = self.tasks
            task.cancel()
        else:
            self.poison = Bug("nobody expected this")
            if self.name in OUTLIVE_ERRORS:
                await until(lambda: self.poison is None)
                return
        await until(lambda: bool(self.events))
        assert self.events[0].task == DECLARED[self.name].name
        self.works.clear()

    async def goes_on(self) -> None:
        """Wait until it works again."""
        self.works.clear()
        async with asyncio.timeout(WITHIN_S):
            await self.works.wait()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what other tasks do."""
    async with asyncio.timeout(WITHIN_S):
        while not condition():  # noqa: ASYNC110 - tasks of others, without a word
            await asyncio.sleep(0.01)


def health(victim: Victim, *, beats: bool) -> Health:
    """Verdicts that are looked at by the server's beat, or by its answers."""
    metrics = Metrics("sink")
    metrics.on(TaskFailed, victim.hear)
    yes = Verdict(ok=True, reason="fine")

    def look() -> Verdict:
        if beats:
            victim.work()
        return yes

    return Health(metrics, ready=look, live=lambda: yes)


@asynccontextmanager
async def event_loop_lag() -> AsyncIterator[Victim]:
    """Beats of a worker's health server."""
    victim = Victim("event loop lag")
    server = HealthServer("127.0.0.1", 0, health(victim, beats=True))
    await server.start()
    yield victim
    await server.stop()


@asynccontextmanager
async def http_deadlines(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Victim]:
    """Looks at the deadlines of a port's connections; it answers meanwhile."""
    victim = Victim("http deadlines")
    server = HealthServer("127.0.0.1", 0, health(victim, beats=False))
    await server.start()
    look = http_server.Server.look

    def poisoned(self: http_server.Server) -> None:
        victim.work()
        look(self)

    monkeypatch.setattr(http_server, "SWEEP_S", 0.01)
    monkeypatch.setattr(http_server.Server, "look", poisoned)
    yield victim
    async with local_client() as client:
        assert (await client.get(f"http://127.0.0.1:{server.bound_port}/live")).status_code == 200
    await server.stop()


@asynccontextmanager
async def unread_records() -> AsyncIterator[Victim]:
    """Questions about what lies at the broker."""
    victim = Victim("unread records")
    app: Any = SimpleNamespace(background=lambda: Tasks(crash=victim.crashes.append, observers=[victim.hear]))
    unread = Unread(app, SimpleNamespace(), every_s=0.01)  # type: ignore[arg-type]
    unread._run = victim.forever  # type: ignore[method-assign]
    await unread.start()
    yield victim
    await unread.stop()


@asynccontextmanager
async def lost_records() -> AsyncIterator[Victim]:
    """Looks for what retention took unread."""
    victim = Victim("lost records")
    tasks = Tasks(crash=victim.crashes.append, observers=[victim.hear])
    losses = Losses(SimpleNamespace(background=lambda: tasks, conf=SimpleNamespace(id="g")))  # type: ignore[arg-type]
    losses._run = victim.forever  # type: ignore[method-assign]
    await losses.start()
    yield victim
    await losses.stop()


def played_producer(victim: Victim | None = None) -> Any:
    """aiokafka's, as far as others look at it."""

    async def forever() -> None:
        await (victim.forever() if victim is not None else asyncio.Event().wait())

    async def answers() -> bool:
        return True

    async def stop() -> None:
        return None

    loop = asyncio.get_running_loop()
    sender = loop.create_task(forever(), name="kafka sender")
    return SimpleNamespace(
        _sender=SimpleNamespace(sender_task=sender),
        client=SimpleNamespace(
            _sync_task=loop.create_task(asyncio.Event().wait(), name="kafka metadata"),
            force_metadata_update=answers,
            cluster=SimpleNamespace(add_listener=lambda _: None),
        ),
        stop=stop,
        create_batch=lambda: None,
        send_batch=None,
        _message_accumulator=None,
        _max_request_size=1_000_000,
    )


def end(producer: Any) -> None:
    """End its tasks."""
    producer._sender.sender_task.cancel()
    producer.client._sync_task.cancel()


@asynccontextmanager
async def ingest_of(
    victim: Victim, monkeypatch: pytest.MonkeyPatch, *, sender: Victim | None = None
) -> AsyncIterator[DurableProducer]:
    """An ingest's producer without Kafka, with what `victim` hears; the first one's sender may be another victim."""
    made: list[Any] = []

    async def connect(_: DurableProducer) -> Any:
        made.append(played_producer(None if made else sender))
        return made[-1]

    monkeypatch.setattr(DurableProducer, "_connect", connect)
    monkeypatch.setattr(ingest, "BEAT_S", 0.01)
    monkeypatch.setattr(ingest, "BACKOFF_S", (0.01,))
    durable = DurableProducer(Settings.load(), [victim.hear])
    await durable.start()
    yield durable
    await durable.stop()
    for producer in made:
        end(producer)


@asynccontextmanager
async def ingest_beat(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Victim]:
    """Questions of an idle ingest."""
    victim = Victim("ingest beat")
    monkeypatch.setattr(DurableProducer, "_beat", victim.forever)
    async with ingest_of(victim, monkeypatch):
        yield victim


@asynccontextmanager
async def producer_replacement(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Victim]:
    """Attempts to get another producer, all in vain at first; in the end there is one."""
    victim = Victim("producer replacement")
    async with ingest_of(victim, monkeypatch) as durable:
        found = durable._connect

        async def in_vain(*_: Any) -> Any:
            victim.work()
            raise SettingsError("the CA file is gone")

        durable._connect = in_vain  # type: ignore[method-assign]
        durable._break(durable._producer, RuntimeError("the sequence is broken"))
        await until(victim.works.is_set)
        yield victim
        durable._connect = found  # type: ignore[method-assign]
        await until(lambda: durable._producer is not None)
        assert durable.trouble is None


@asynccontextmanager
async def producer_closing(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Victim]:
    """The end of a broken producer; whatever becomes of it, the next one is there."""
    victim = Victim("producer closing")
    close = close_producer
    monkeypatch.setattr(ingest, "close_producer", victim.forever)
    async with ingest_of(victim, monkeypatch) as durable:
        durable._break(durable._producer, RuntimeError("the sequence is broken"))
        yield victim
        await until(lambda: durable._producer is not None)
        monkeypatch.setattr(ingest, "close_producer", close)


@asynccontextmanager
async def topic_partitions() -> AsyncIterator[Victim]:
    """A question about a topic that a first record goes to: whoever waits is told, and the next record asks again."""
    victim = Victim("topic partitions")
    told: list[Any] = []
    tasks = Tasks(observers=[victim.hear])
    played = played_producer(None)
    played.partitions_for = victim.forever
    appender: Appender[Any] = Appender(
        played, lambda waiters, *_: told.extend(waiters), lambda waiters, _: told.extend(waiters), tasks
    )
    first, second = SimpleNamespace(ended=False), SimpleNamespace(ended=False)
    appender.put("a", OutRecord(b"k", b"v"), first)
    yield victim
    assert told == [first]
    appender.put("a", OutRecord(b"k", b"v"), second)
    await victim.goes_on()
    await tasks.stop()
    end(played)


def supervisor_of(victim: Victim, monkeypatch: pytest.MonkeyPatch) -> Supervisor:
    """A supervisor without processes, with what `victim` hears."""
    monkeypatch.setattr(Supervisor, "_crash", lambda _, error: victim.crashes.append(error))
    supervisor = Supervisor(Settings.load(ingest_workers=2), lambda _: None)
    supervisor._metrics.on(TaskFailed, victim.hear)
    return supervisor


@asynccontextmanager
async def ingest_worker(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Victim]:
    """What keeps a worker at its place: without it nobody would replace the next one that ends."""
    victim = Victim("ingest worker")
    supervisor = supervisor_of(victim, monkeypatch)
    supervisor._tasks.start(WORKER, victim.forever)
    yield victim
    await supervisor._tasks.stop()


@asynccontextmanager
async def answer_for_all_workers(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Victim]:
    """A probe's answer: whoever was asked answers for itself after a while, and the next probe is answered."""
    victim = Victim("answer for all workers")
    supervisor = supervisor_of(victim, monkeypatch)
    answer = supervisor._answer
    supervisor._answer = victim.forever  # type: ignore[method-assign]
    replies: list[Any] = []
    supervisor._asked(supervisor._workers[0], ["/live", ""], replies.append)
    yield victim
    supervisor._answer = answer  # type: ignore[method-assign]
    supervisor._asked(supervisor._workers[0], ["/live", ""], replies.append)
    await until(lambda: bool(replies))
    await supervisor._tasks.stop()


@asynccontextmanager
async def ingest_sender(monkeypatch: pytest.MonkeyPatch, name: str = "kafka sender") -> AsyncIterator[Victim]:
    """Aiokafka's own task in an ingest: it gets another producer."""
    victim = Victim(name)
    async with ingest_of(victim, monkeypatch, sender=victim) as durable:
        broken = durable._producer
        yield victim
        await until(lambda: durable._producer is not None and durable._producer is not broken)


@asynccontextmanager
async def worker_sender(name: str = "kafka sender") -> AsyncIterator[Victim]:
    """The same in a worker: what waits for a delivery fails, and what is sent later too; the flow then ends."""
    victim = Victim(name)
    producer = BatchProducer(Settings.load(), [victim.hear])
    played = played_producer(victim)
    producer._producer = played
    from pipeline.kafka.lifelines import watch_producer

    watch_producer(producer._lifelines, played, producer._lifeline_ended)
    sent = chunk_of(producer).send()
    yield victim
    with pytest.raises(BrokenSequenceError):
        await sent
    with pytest.raises(BrokenSequenceError):
        await chunk_of(producer).send()
    await producer.stop()
    end(played)


@asynccontextmanager
async def abandoned_producer() -> AsyncIterator[Victim]:
    """The end of a producer that was given up; what waited for it has failed, and a stop does not wait for ever."""
    victim = Victim("abandoned producer")
    producer = BatchProducer(Settings.load(), [victim.hear])
    played = played_producer()
    producer._producer = played
    gate: Any = SimpleNamespace(cut=lambda: None, close=victim.forever)
    producer._gate = gate
    sent = chunk_of(producer).send()
    producer.abandon()
    yield victim
    with pytest.raises(DeliveryError, match="given up"):
        await sent
    await producer.stop()
    end(played)


def chunk_of(producer: BatchProducer, send_batch: Any = None) -> OutgoingChunk:
    """One record on its way."""
    from aiokafka.producer.message_accumulator import BatchBuilder

    async def never(*_: Any, **__: Any) -> asyncio.Future[Any]:
        return asyncio.get_running_loop().create_future()

    producer._started().send_batch = send_batch or never
    chunk = OutgoingChunk(lambda: BatchBuilder(1000, 0), producer._outlet, {})
    chunk.append("a", 0, OutRecord(b"k", b"v"))
    return chunk


@asynccontextmanager
async def outlet() -> AsyncIterator[Victim]:
    """The writer of one partition, with a batch in its hands."""
    victim = Victim("outlet")
    producer = BatchProducer(Settings.load(), [victim.hear])
    played = played_producer()
    producer._producer = played

    async def send_batch(*_: Any, **__: Any) -> Any:
        await victim.forever()

    sent = chunk_of(producer, send_batch).send()
    await until(victim.works.is_set)
    yield victim
    with pytest.raises(BrokenSequenceError):
        await sent
    await producer.stop()
    end(played)


def a_sink(victim: Victim) -> Sink:
    """One of one lane, which can lend."""
    nothing: Any = SimpleNamespace()
    return Sink(
        post=nothing,
        producer=nothing,
        dead_letters_topic="d",
        membership=nothing,
        partitions_total=lambda: 1,
        requests_per_second=1.0,
        lanes=1,
        crash=victim.crashes.append,
        observers=[victim.hear],
        board=nothing,
    )


@asynccontextmanager
async def lane() -> AsyncIterator[Victim]:
    """One of a sink's."""
    victim = Victim("lane")
    sink = a_sink(victim)
    sink.queue.run = victim.forever  # type: ignore[method-assign]
    await sink.start()
    yield victim
    await sink.stop()


@asynccontextmanager
async def faults() -> AsyncIterator[Victim]:
    """Makes dead letters of what needs no lane: without it those partitions would stand still."""
    victim = Victim("faults")
    sink = a_sink(victim)
    sink.queue.run_faults = victim.forever  # type: ignore[method-assign]
    await sink.start()
    yield victim
    await sink.stop()


@asynccontextmanager
async def lending() -> AsyncIterator[Victim]:
    """A sink's shares, lent and borrowed."""
    victim = Victim("lending")
    sink = a_sink(victim)
    assert sink._lender is not None
    sink._lender.run = victim.forever  # type: ignore[method-assign]
    await sink.start()
    yield victim
    await sink.stop()


@asynccontextmanager
async def look_ahead(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Victim]:
    """For a partition whose records wait for it: without it they would wait for ever."""
    victim = Victim("look ahead")
    look = LookAhead(Settings.load(), Removals(), lambda: None, victim.crashes.append)
    look._tasks = Tasks(crash=victim.crashes.append, observers=[victim.hear])

    async def none_answers(tps: list[Any]) -> list[Any]:
        return tps

    monkeypatch.setattr(look, "_look", none_answers)
    monkeypatch.setattr(look, "_look_again", victim.forever)
    await look([0])
    yield victim
    look.stop()


@asynccontextmanager
async def offset_commits() -> AsyncIterator[Victim]:
    """A task of Faust's consumer, which mode starts; its errors are mode's to crash with."""
    victim = Victim("offset commits")
    consumer: Any = SimpleNamespace(
        app=SimpleNamespace(background=lambda: Tasks(crash=victim.crashes.append, observers=[victim.hear])),
        committer=SimpleNamespace(run=victim.forever),
        should_stop=False,
    )
    yield await held(victim, Consumer._commit_watermarks.fun(consumer))


@asynccontextmanager
async def group_coordination() -> AsyncIterator[Victim]:
    """The look at the group's coordination, in the consumer's thread; the same."""
    victim = Victim("group coordination")
    thread: Any = SimpleNamespace(
        app=SimpleNamespace(transport_observers=[victim.hear]),
        _look_again_and_again=victim.forever,
        _crash_worker=victim.crashes.append,
        _crashing=False,
        should_stop=False,
    )
    yield await held(victim, ConsumerThread._watch_coordination.fun(thread))


async def held(victim: Victim, work: Any) -> Victim:
    """As mode runs it: an exception crashes, a cancellation is a line at INFO."""

    async def execute() -> None:
        try:
            await work
        except asyncio.CancelledError:
            pass
        except Exception as error:  # noqa: BLE001 - mode's own
            victim.crashes.append(error)
            victim.hear(TaskFailed(victim.name, error))

    asyncio.get_running_loop().create_task(execute(), name=victim.name)
    await until(victim.works.is_set)
    return victim


@asynccontextmanager
async def customer_look_up() -> AsyncIterator[Victim]:
    """A question to Dodo: without an answer the webhook goes on by what is known."""
    victim = Victim("customer look-up")

    async def close() -> None:
        return None

    api: Any = SimpleNamespace(customer=victim.forever, aclose=close)
    resolver = Resolver(api, observers=[victim.hear])
    asking = resolver.ask("cus_1")
    assert isinstance(asking, asyncio.Task)
    await until(victim.works.is_set)
    yield victim
    await asyncio.wait({asking})
    await resolver.close()


def product_lookups(victim: Victim, tmp_path: Path, *, again_s: float = 0, **answers: Any) -> ProductLookups:
    """Look-ups at an API with these answers; nobody waits for one so long that he would go on without."""

    async def close() -> None:
        return None

    api: Any = SimpleNamespace(**answers, aclose=close)
    names = ProductNames({}, tmp_path / "names.json")
    return ProductLookups(api, names, wait_s=3600.0, again_s=again_s, observers=[victim.hear])


def bought(product_id: str) -> Any:
    """A webhook that mentions a product."""
    body = b'{"type":"payment.succeeded","data":{"product_id":"%s"}}' % product_id.encode()
    return read(FetchedRecord("webhooks", 0, 0, 0, 0, None, body, ()))


@asynccontextmanager
async def product_look_up(tmp_path: Path) -> AsyncIterator[Victim]:
    """A question about one product: the webhook goes on without its name, and the next one asks again."""
    victim = Victim("product look-up")
    lookups = product_lookups(victim, tmp_path, product=victim.forever)
    waiting = lookups.missing(bought("pdt_1"), waits=True)
    assert waiting is not None
    await until(victim.works.is_set)
    yield victim
    await until(waiting.done)
    assert lookups.missing(bought("pdt_1"), waits=True) is not None
    await lookups.close()


@asynccontextmanager
async def reading_of_products(tmp_path: Path) -> AsyncIterator[Victim]:
    """The question about all products, for which webhooks wait at the start: they go on, and the next ask for one."""
    victim = Victim("reading of products")
    one = Victim("product look-up")
    lookups = product_lookups(victim, tmp_path, products=victim.forever, product=one.forever)
    await lookups.start()
    waiting = lookups.missing(bought("pdt_1"), waits=True)
    assert waiting is not None
    await until(victim.works.is_set)
    yield victim
    await until(waiting.done)
    assert lookups.missing(bought("pdt_1"), waits=True) is not None
    await until(one.works.is_set)
    await lookups.close()


@asynccontextmanager
async def product_names_again(tmp_path: Path) -> AsyncIterator[Victim]:
    """Names that may have changed are read now and then: it goes on."""
    victim = Victim("product names again")

    async def nothing(_number: int) -> list[dict[str, Any]]:
        victim.work()
        return []

    lookups = product_lookups(victim, tmp_path, again_s=0.01, products=nothing)
    lookups._pause = lambda: asyncio.sleep(0)  # type: ignore[method-assign]
    await lookups.start()
    await until(lambda: not lookups._reading)
    yield victim
    await lookups.close()


@asynccontextmanager
async def rules_watch(tmp_path: Path) -> AsyncIterator[Victim]:
    """Files of rules are looked at for as long as the transform runs: it goes on."""
    victim = Victim("rules watch")
    (tmp_path / "rules.yaml").write_text("rules:\n- match: {event: payment_completed}\n  rename: Paid\n")
    settings = Settings.load(rules=tmp_path / "rules.yaml")
    shaper = shaper_of(settings)
    assert shaper is not None
    live = LiveShaper(settings, shaper, Tasks(crash=victim.crashes.append, observers=[victim.hear]), victim.hear)
    live._watch = victim.forever  # type: ignore[method-assign]
    await live.start()
    yield victim
    await live.stop()


@asynccontextmanager
async def chunk_in_waiting() -> AsyncIterator[Victim]:
    """A chunk that waits for an answer: without its task the partition would stand still."""
    victim = Victim("chunk in waiting")
    answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    answer.set_result(None)
    parked = Parked(victim.forever, lambda: None, Tasks(crash=victim.crashes.append, observers=[victim.hear]))
    parked.park(Chunk(RecordBatch.of("webhooks", 0, []), 0, 1), answer)
    await until(victim.works.is_set)
    yield victim


@asynccontextmanager
async def mirror_closing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Victim]:
    """A partition that went: its next restore does not wait for it for ever."""
    victim = Victim("mirror closing")
    store = PartitionStores(Settings.load(data_dir=tmp_path), LARGEST, SimpleNamespace(), victim.hear)
    store._tasks._observers = [victim.hear]
    monkeypatch.setattr(asyncio, "to_thread", victim.forever)
    local: Any = SimpleNamespace()
    store._local_stores[0] = local
    store.keep(())
    await until(victim.works.is_set)
    yield victim
    await until(lambda: not store._closing)
    await store.stop()


@asynccontextmanager
async def partition_watch() -> AsyncIterator[Victim]:
    """Looks whether the topic grew: without it a worker would decide on under owners that are none any more."""
    victim = Victim("partition watch")
    tasks = Tasks(crash=victim.crashes.append, observers=[victim.hear])
    watch = PartitionWatch(Settings.load(), lambda: 4, tasks)
    watch._watch = victim.forever  # type: ignore[method-assign]
    await watch.start()
    yield victim
    await watch.stop()


@asynccontextmanager
async def mirror_upkeep(tmp_path: Path) -> AsyncIterator[Victim]:
    """Takes what was forgotten off the disk: it goes on."""
    victim = Victim("mirror upkeep")
    tasks = Tasks(observers=[victim.hear])
    upkeep = Cleanup(
        Settings.load(), tmp_path, LARGEST, stores={}, wanted=(), closing={}, tasks=tasks, tell=lambda _: None
    )
    upkeep._watch = victim.forever  # type: ignore[method-assign]
    upkeep.assigned()
    yield victim
    await upkeep.stop()


@asynccontextmanager
async def progress_bar() -> AsyncIterator[Victim]:
    """The demo's."""
    victim = Victim("progress bar")
    tasks = Tasks(observers=[victim.hear])
    tasks.start(demo.SHOWING, victim.forever)
    yield victim
    await tasks.stop()


@asynccontextmanager
async def kafka_login() -> AsyncIterator[Victim]:
    """Keeps a session with a broker: without it the broker ends the connection, and its client makes another one."""
    victim = Victim("kafka login")
    connection = Connection("broker", 9092)
    connection._tasks = Tasks(observers=[victim.hear])
    connection._login_again = victim.forever  # type: ignore[method-assign]
    connection._begin_login()
    yield victim
    await connection._tasks.stop()


@asynccontextmanager
async def records_aside() -> AsyncIterator[Victim]:
    """Writes what may be lost: it goes on."""
    victim = Victim("records aside")
    aside = Aside(Settings.load(), "shadow", Tasks(observers=[victim.hear]), lambda _: None)
    aside._write = victim.forever  # type: ignore[method-assign]
    await aside.start()
    yield victim
    await aside.stop()


SCENARIOS: dict[str, list[Callable[..., AbstractAsyncContextManager[Victim]]]] = {
    "event loop lag": [event_loop_lag],
    "http deadlines": [http_deadlines],
    "unread records": [unread_records],
    "lost records": [lost_records],
    "ingest beat": [ingest_beat],
    "producer replacement": [producer_replacement],
    "producer closing": [producer_closing],
    "topic partitions": [topic_partitions],
    "ingest worker": [ingest_worker],
    "answer for all workers": [answer_for_all_workers],
    "kafka sender": [ingest_sender, worker_sender],
    "kafka metadata": [ingest_sender, worker_sender],
    "outlet": [outlet],
    "abandoned producer": [abandoned_producer],
    "lane": [lane],
    "faults": [faults],
    "lending": [lending],
    "look ahead": [look_ahead],
    "offset commits": [offset_commits],
    "group coordination": [group_coordination],
    "customer look-up": [customer_look_up],
    "product look-up": [product_look_up],
    "reading of products": [reading_of_products],
    "product names again": [product_names_again],
    "rules watch": [rules_watch],
    "chunk in waiting": [chunk_in_waiting],
    "mirror closing": [mirror_closing],
    "partition watch": [partition_watch],
    "mirror upkeep": [mirror_upkeep],
    "progress bar": [progress_bar],
    "records aside": [records_aside],
    "kafka login": [kafka_login],
}
NOT_OURS = {"kafka metadata"}
"""Played by tasks without work, so that only a cancellation can end them."""

OUTLIVE_ERRORS = {"producer replacement", "outlet"}
"""An error is one more attempt in vain, or the batches' answer: it ends nothing, and the scenario's end shows it."""


@pytest.mark.parametrize("how", ["cancelled", "failed"])
@pytest.mark.parametrize(("name", "scenario"), [(name, one) for name, several in SCENARIOS.items() for one in several])
async def test_a_killed_task(
    name: str, scenario: Any, how: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It ends the process, is started again, or its owner acts; and each end is heard of."""
    if how == "failed" and name in NOT_OURS:
        pytest.skip("does no work of its own here")
    given = {"monkeypatch": monkeypatch, "tmp_path": tmp_path, "name": name}
    wanted = scenario.__wrapped__.__code__.co_varnames[: scenario.__wrapped__.__code__.co_argcount]
    async with scenario(**{word: given[word] for word in wanted}) as victim:
        await until(lambda: bool(victim.tasks))
        await victim.kill(how)
        if how == "failed" and name in OUTLIVE_ERRORS:
            assert not victim.events
            return
        match DECLARED[name].on_end:
            case OnEnd.RESTART:
                await victim.goes_on()
                assert victim.events[0].again_in_s is not None
                assert not victim.crashes
            case OnEnd.CRASH:
                await until(lambda: bool(victim.crashes))
                assert victim.crashes == [victim.events[0].error]
            case OnEnd.TELL:  # what the owner does is the rest of the scenario
                assert victim.events[0].again_in_s is None
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.gather(*victim.tasks)


def test_every_task_has_been_killed() -> None:
    """A new background task comes with a scenario."""
    for module in pkgutil.walk_packages(pipeline.__path__, "pipeline."):
        if not module.name.endswith("__main__"):
            with contextlib.suppress(SystemExit):  # an app for `faust -A` without its settings
                importlib.import_module(module.name)
    assert {name for name in DECLARED if not name.startswith("of this test")} == set(SCENARIOS)


async def test_a_lag_without_a_server() -> None:
    """Ingest runs the same task beside its own server."""
    beats = asyncio.Event()
    from pipeline.watch.loop import LAG

    tasks = Tasks()
    tasks.start(LAG, LoopLag(Metrics("ingest"), beats.set).run)
    async with asyncio.timeout(WITHIN_S):
        await beats.wait()
    await tasks.stop()
