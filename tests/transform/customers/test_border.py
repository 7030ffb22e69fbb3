"""What is no fact stops nobody: it is kept aside, counted, and told of once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, get_args

import orjson
import pytest
import structlog
from aiokafka import AIOKafkaProducer
from prometheus_client import CollectorRegistry

from pipeline.dodo import samples
from pipeline.errors import TopicError
from pipeline.settings import Settings
from pipeline.statestore.changes import BEGAN, Began, Change
from pipeline.statestore.events import RecordsKeptAside
from pipeline.statestore.metrics import observe_state
from pipeline.statestore.store import MemoryStore
from pipeline.statestore.validation import ASIDE, Warnings, as_it_was, sift
from pipeline.transform.customers import facts
from pipeline.transform.customers.facts import checked, decode
from pipeline.transform.customers.schema import CUSTOMERS, KINDS
from pipeline.transform.decision import decide
from pipeline.transform.mapping import map_webhook
from pipeline.transform.policy import Policy
from pipeline.transform.verdicts import Operations
from pipeline.watch.metrics import Metrics
from tests.records import Consumed

if TYPE_CHECKING:
    from tests.transform.customers.conftest import Fact, Fleet, Owner

ChainSettings = Callable[..., Awaitable[Settings]]
Own = Callable[[Settings], AbstractAsyncContextManager["Owner"]]
FactsIn = Callable[[Settings], Awaitable[list["Fact"]]]
Put = Callable[..., Awaitable[None]]

LENGTHS = {
    "payment": 9, "refund": 5, "charge": 2, "unpaid": 1, "card": 6, "subscription": 11, "trial": 1, "change": 1,
    "replacement": 1, "method": 3, "activation": 2, "cancellation": 1, "dispute": 2,
    "identity": 10, "event": 1, "forgotten": 1, "request": 3, "shared": 3, "share": 2, "person": 4,
}  # fmt: skip
"""How many elements a fact of each kind has."""

CUSTOMER = b"cus_1"


def ill_typed(kind: str) -> list[bytes]:
    """Arrays of the right length, and other things, that are no facts of the kind."""
    length = LENGTHS[kind]
    wrong: list[Any] = [["x"] * length, [{}] * length, [[]] * length, [True] * length, [1.5] * length, [], {}, "x", 7]
    if kind == "share":
        wrong.append([1, {"spent": {"USD": "much"}}])
    return [*map(orjson.dumps, wrong), b"", b"\xff", b"[1", b"null"]


def key(kind: str, number: int = 0) -> bytes:
    """A key of the customer."""
    return b"%b\0%b\0%d" % (CUSTOMER, kind.encode(), number)


def test_every_kind_is_meant() -> None:
    """A new kind comes with a form."""
    assert LENGTHS.keys() == set(get_args(facts.Kind)) - {"state"}


@pytest.mark.parametrize("kind", LENGTHS)
def test_what_does_not_fit(kind: str) -> None:
    """An array of the right length is no fact of its kind for that."""
    for value in ill_typed(kind):
        assert checked(kind, value) is None, value


def test_a_kind_that_nobody_knows_is_kept_aside() -> None:
    """It is no fact of this version, which could not merge two of them; it moves and goes with its customer."""
    assert checked("later", b"[{}]") is None
    sifted = sift([(key("later"), b"[{}]"), (key("later"), b"{}")], [7, 8], CUSTOMERS)
    assert (sifted.changes, sifted.kinds) == (
        [(key("later"), ASIDE + b"[{}]"), (key("later"), b"{}")], Counter(later=2),
    )  # fmt: skip


def test_sifting() -> None:
    """Facts and tombstones in their order, what is none as what nobody can read; the last beginning counts."""
    told: list[RecordsKeptAside] = []
    warnings = Warnings("dodo.customers", told.append)
    changes: list[Any] = [
        (BEGAN, b"[1]"),
        (key("event"), b"[5]"),
        (key("event"), b'["x"]'),
        (key("event", 1), b"[]"),
        (key("event", 1), b"[6]"),
        (key("event", 2), None),
        (None, b"[1]"),
        (b"no-fact", b"[1]"),
        (b"c\0event\0" + b"x" * 600, b"[1]"),
        (BEGAN, b"[2]"),
        (BEGAN, None),
    ]
    with structlog.testing.capture_logs() as logs:
        sifted = sift(changes, range(100, 111), CUSTOMERS)
        again = sift([(key("payment"), b"{}")], [200], CUSTOMERS)
        for partition, one in (
            (3, sifted),
            (3, again),
            (4, again),
            (5, sift([(key("event"), b"[1]")], [9], CUSTOMERS)),
        ):
            warnings.hear(partition, one)
    expected: list[Change] = [
        (key("event"), b"[5]"),
        (key("event"), ASIDE + b'["x"]'),
        (key("event", 1), b"[]"),
        (key("event", 1), b"[6]"),
        (key("event", 2), None),
    ]
    assert sifted.changes == expected
    assert [decode("event", value) for _, value in expected] == [[5], None, None, [6], None]
    assert (sifted.began, again.changes) == (Began(109, b"[2]"), [(key("payment"), b"{}")])
    assert [as_it_was(value or b"") for _, value in sifted.changes[:2]] == [b"[5]", b'["x"]']
    assert [(log["partition"], log["offset"], log["kind"]) for log in logs] == [(3, 102, "event"), (4, 200, "payment")]
    assert [event.kinds for event in told] == [Counter(event=2, none=3), Counter(payment=1), Counter(payment=1)]


def test_it_goes_with_its_customer() -> None:
    """Who is forgotten leaves nothing behind, whatever somebody wrote under the customer's key."""
    store = MemoryStore()
    store.put(key("payment"), ASIDE + b'["jane@example.com"]')
    value = orjson.dumps({"command": "forget", "customer_id": "cus_1", "customerio": None, "at": 1_792_660_000})
    decide(Consumed(value, (("dodo-command", b"forget"), ("webhook-id", b"forget_1"))), Policy(), map_webhook, store)
    assert [name for name, _ in store.scan(b"")] == [b"cus_1\0forgotten\0", b"cus_1\0request\0"]


def test_a_fact_takes_its_place() -> None:
    """A webhook that tells the fact is decided as if nothing lay there, and its event is out."""
    body = orjson.loads(samples.load("payment.succeeded"))
    body["data"]["customer"]["customer_id"] = "cus_1"
    payment_id = body["data"]["payment_id"].encode()
    clean, odd = MemoryStore(), MemoryStore()
    for kind, length in LENGTHS.items():
        odd.put(b"cus_1\0%b\0%b" % (kind.encode(), payment_id), ASIDE + orjson.dumps(["x"] * length))
    odd.put(b"cus_1\0identity\0", ASIDE + orjson.dumps(["x"] * 10))
    record = Consumed(orjson.dumps(body), (("webhook-id", b"msg_1"), ("webhook-timestamp", b"1792660380")))
    decided = [decide(record, Policy(), map_webhook, store).verdict for store in (clean, odd)]
    assert isinstance(decided[0], Operations)
    assert decided[0] == decided[1]
    payment = b"cus_1\0payment\0" + payment_id
    assert odd.get(payment) == clean.get(payment)


def test_they_are_counted() -> None:
    """By kind; what a key invents is no label."""
    metrics = Metrics("transform")
    observe_state(metrics, KINDS)
    metrics(RecordsKeptAside("t", 0, {"payment": 2, "none": 1, "invented": 4}))
    registry: CollectorRegistry = metrics.registry
    found = {
        kind: registry.get_sample_value("dodo_cio_facts_kept_aside_total", {"kind": kind})
        for kind in ("payment", "none", "other", "invented")
    }
    assert found == {"payment": 2, "none": 1, "other": 4, "invented": None}


# --- on Kafka ---------------------------------------------------------------------------------------------------------


@pytest.mark.kafka
async def test_ill_typed_records_of_every_kind_stop_nobody(
    chain_settings: ChainSettings, own: Own, put: Put, facts_in: FactsIn
) -> None:
    """Two of them under one key, over a good fact or alone: the restore goes on, and what is known stays known."""
    settings = await chain_settings(partitions=1)
    good = b"[100]"
    records = [(key("event"), good), *[(key("event"), value) for value in ill_typed("event")]]
    for kind in LENGTHS:
        records += [(key(kind, 1), value) for value in ill_typed(kind)]
    await put(settings, 0, [*records, (b"cus_2\0event\0a", good)])
    with structlog.testing.capture_logs() as logs:
        async with own(settings) as owner:
            await owner.owns(0)
            store = owner.store(0)
            assert (store.get(key("event")), store.get(b"cus_2\0event\0a")) == (good, good)
            assert [decode(kind, store.get(key(kind, 1))) for kind in LENGTHS] == [None] * len(LENGTHS)
            await owner.flushes(0)
            before = len(await facts_in(settings))
            await owner.owns(0)
            await owner.flushes(0)
            assert len(await facts_in(settings)) == before
    warned = [log for log in logs if "kept aside" in log["event"]]
    assert [(log["topic"], log["partition"], log["offset"]) for log in warned] == [(settings.customers_topic, 0, 1)]
    latest = {record.key: record.value for record in await facts_in(settings)}
    assert latest[key("event")] == good  # compaction leaves the fact, and not what lay on it
    counted: Counter[str] = Counter()
    for event in owner.told:
        if isinstance(event, RecordsKeptAside):
            counted.update(event.kinds)
    assert counted == Counter({kind: len(ill_typed(kind)) for kind in LENGTHS}) + Counter(event=len(ill_typed("event")))


@pytest.mark.kafka
async def test_a_worker_beside_ill_typed_records(
    chain_settings: ChainSettings, make_fleet: Callable[[Settings], Fleet], put: Put
) -> None:
    """It starts, decides the webhooks of the very customer, and ends in order."""
    settings = await chain_settings(partitions=1)
    body = orjson.loads(samples.load("payment.succeeded"))
    body["data"]["customer"]["customer_id"] = CUSTOMER.decode()
    records = [(key(kind, number), value) for kind in LENGTHS for number, value in enumerate(ill_typed(kind))]
    records += [(b"cus_1\0identity\0", value) for value in ill_typed("identity")]
    await put(settings, 0, records)
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka_bootstrap_servers)
    await producer.start()
    await producer.send_and_wait(settings.webhooks_topic, orjson.dumps(body), key=CUSTOMER)
    await producer.stop()
    settings.data_dir.mkdir()
    fleet = make_fleet(settings)
    worker = fleet.start()
    await fleet.caught_up()
    assert await worker.stop() == 0, worker.text[-6000:]
    assert worker.text.count("kept aside") == 1
    assert "Traceback" not in worker.text


@pytest.mark.kafka
async def test_facts_of_a_newer_version(chain_settings: ChainSettings, own: Own) -> None:
    """After a rollback nobody guesses: the version, the place and what to start are named."""
    settings = await chain_settings(partitions=1)
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka_bootstrap_servers)
    await producer.start()
    for version in (b"1", b"soon", b"7"):
        headers = [("schema-version", version)]
        await producer.send_and_wait(settings.customers_topic, b"[1]", key=key("event"), headers=headers)
    await producer.stop()
    async with own(settings) as owner:
        with pytest.raises(TopicError, match=rf"{settings.customers_topic}/0/2 is a fact of schema version 7"):
            await owner.owns(0)
