"""A customer with thousands of subscriptions is shown as one with three, and costs no more."""

from __future__ import annotations

import random
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.dodo import samples
from pipeline.statestore.changes import Change, collapse
from pipeline.statestore.lmdb_store import LmdbStore
from pipeline.statestore.store import KeyValueStore, MemoryStore
from pipeline.statestore.transaction import Transaction, TransactionalStore
from pipeline.transform.customers import facts
from pipeline.transform.customers.customer_view import CustomerView
from pipeline.transform.customers.merged_facts import summary_of
from pipeline.transform.customers.observations import Observation, Observations
from pipeline.transform.customers.roster import Roster
from pipeline.transform.customers.schema import CUSTOMERS
from pipeline.transform.customers.shape import MAX_PRODUCTS
from pipeline.transform.customers.shares import share_of
from pipeline.transform.decision import decide
from pipeline.transform.event_times import EventTimes
from pipeline.transform.mapping import map_webhook
from pipeline.transform.policy import Policy
from pipeline.transform.profile import Contact
from pipeline.transform.timestamps import iso
from pipeline.transform.verdicts import Operations
from tests.records import Consumed

CUSTOMER: Final = b"cus_1"
BEGAN_MS: Final = 1_790_000_000_000
LAPSES: Final = ("on_hold", "past_due", "paused")
ORDER: Final = ("active", "past_due", "on_hold", "paused")
"""Who speaks before whom, by the contract of the profile."""


@dataclass(frozen=True)
class Happened:
    """Something happened to a subscription: it was activated, lapsed or ended, with a product."""

    subscription_id: str
    at_ms: int
    status: str
    product_id: str
    created_ms: int

    @property
    def telling(self) -> Observation:
        """The fact as its webhook tells it."""
        at_s = self.at_ms // 1000
        plan = [at_s, self.at_ms, self.product_id, 100, "USD", "Month", 1]
        state = [at_s, self.at_ms, self.status, iso(self.at_ms), False, self.created_ms, [plan], None, None]
        return Observation("subscription", (self.subscription_id,), [*state, [[self.at_ms, self.status]], 0])


def lives(rng: random.Random, subscriptions: int, products: int) -> list[Happened]:
    """What happens to so many subscriptions: they start, lapse and come back, change their product, end and return."""
    told = []
    moments = iter(rng.sample(range(subscriptions * 40), subscriptions * 40))
    for number in range(subscriptions):
        statuses = ["active"]
        for _ in range(rng.randrange(3)):
            statuses += [rng.choice(LAPSES), "active"] if rng.random() < 0.5 else ["active"]
        if rng.random() < 0.3:
            statuses.append(rng.choice(LAPSES))
        if rng.random() < 0.4:
            statuses.append(rng.choice(["cancelled", "expired", "failed"]))
            if rng.random() < 0.3:
                statuses.append("active")
        times = sorted(next(moments) for _ in statuses)
        created_ms = BEGAN_MS + rng.randrange(max(2, subscriptions // 3)) if rng.random() < 0.95 else 0
        for at, status in zip(times, statuses, strict=True):
            product = f"pdt_{rng.randrange(products):04}"
            told.append(Happened(f"sub_{number:05}", BEGAN_MS + at * 1000, status, product, created_ms))
    return told


@dataclass
class Books:
    """An independent account: all that arrived, looked through from the start at every question."""

    arrived: dict[str, set[Happened]] = field(default_factory=lambda: defaultdict(set))

    def take(self, one: Happened) -> None:
        """It arrived, perhaps again."""
        self.arrived[one.subscription_id].add(one)

    def now(self) -> list[tuple[str, str, str, int]]:
        """Id, status, product and creation of each; an end holds until it is activated later."""
        found = []
        for subscription_id, told in self.arrived.items():
            history = sorted(told, key=lambda one: one.at_ms)
            status = history[-1].status
            for one in history:
                if one.status in {"cancelled", "expired", "failed"} and not any(
                    later.status == "active" for later in history if later.at_ms > one.at_ms
                ):
                    status = one.status
            found.append((subscription_id, status, history[-1].product_id, history[-1].created_ms))
        return found

    def shown(self) -> tuple[Any, ...]:
        """Who speaks, how many are active, their products, since when, and those that can be asked for one by one."""
        now = self.now()
        live = [one for one in now if one[1] in ORDER]
        others = sorted((one for one in now if one[1] not in ORDER), key=lambda one: (-one[3], one[0]))[:1]
        candidates = sorted(live, key=lambda one: (ORDER.index(one[1]), -one[3], one[0])) + others
        active = [one for one in live if one[1] == "active"]
        return (
            candidates[0] if candidates else None,
            len(active),
            sorted({one[2] for one in active})[:MAX_PRODUCTS],
            min((one[3] for one in live + others if one[3] > 0), default=None),
            {one[0]: one for one in live + others},
        )


def of(store: KeyValueStore, *tellings: Observation) -> CustomerView:
    """The customer's view with these."""
    return CustomerView(store, CUSTOMER, Observations(EventTimes(None, 0, 0), list(tellings), Contact(), {}))


def shown(view: CustomerView, ids: Iterable[str]) -> tuple[Any, ...]:
    """The same of the profile, with whatever these ids are."""
    asked = {id_: one for id_ in ids if (one := view.subscription(id_)) is not None}
    listed = {id_: (one.subscription_id, one.status, one.product_id, one.created_at_ms) for id_, one in asked.items()}
    speaking = view.speaking
    return (
        None if speaking is None else listed[speaking.subscription_id],
        view.active.subscriptions,
        list(view.active.product_ids),
        view.subscribed_since_ms,
        listed,
    )


def anew_of(store: KeyValueStore, customer: bytes) -> dict[bytes, bytes]:
    """The customer's summary and what lies beside it, made of the facts alone."""
    anew = MemoryStore()
    for key, value in store.scan(facts.prefix(customer)):
        anew.put(key, value)
    summary_of(anew, customer)
    return anew.derived_values


class Owner:
    """The owner of a partition: its mirror, and a changelog that outlives both."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._moves = 0
        self._log: list[Change] = []
        self._waiting: list[tuple[Transaction, range | None]] = []
        self._open()

    def _open(self) -> None:
        self._local = LmdbStore.open(self._directory / str(self._moves), "t", 0, CUSTOMERS)
        if len(self._log) > self._local.next_offset:
            self._local.absorb(self._log[self._local.next_offset :], len(self._log), None)
        self.store = TransactionalStore(self._local, 0)

    def chunk(self) -> None:
        """What was told since is durable in the changelog, and not in the mirror yet."""
        sealed = self.store.seal()
        start = len(self._log)
        self._log += sealed.changes()
        self._waiting.append((sealed, range(start, len(self._log)) if sealed.values else None))

    def commit(self) -> None:
        """It is in the mirror as well."""
        self.store.commit([chunk for chunk, _ in self._waiting], [where for _, where in self._waiting])
        self._waiting = []

    def restart(self) -> None:
        """In order: all is stored, and found again."""
        self.chunk()
        self.commit()
        self.close()
        self._open()

    def crash(self) -> None:
        """What was durable and not stored is read from the changelog."""
        self.chunk()
        self.store.give_up()
        self._waiting = []
        self.close()
        self._open()

    def move(self) -> None:
        """Another worker builds the mirror from the changelog alone."""
        self._moves += 1
        self.crash()

    def another(self, told: Observation) -> None:
        """A worker that lost the partition writes a fact between ours, and ours hears of it."""
        self.chunk()
        self.commit()
        self._log.append((facts.key(CUSTOMER, told.kind, *told.ids), facts.encode(told.fact)))
        self.store.merge_in(collapse(self._log[self._local.next_offset :], CUSTOMERS.merge))
        self.store.gap_read(len(self._log))

    def beside(self) -> dict[bytes, bytes]:
        """The summary, and what lies beside it."""
        summary_of(self.store, CUSTOMER)
        begin = facts.prefix(CUSTOMER)
        kept = self.store.derived(CUSTOMER)
        assert kept is not None
        return {CUSTOMER: kept, **dict(self.store.derived_between(begin, begin + b"\xff"))}

    def anew(self) -> dict[bytes, bytes]:
        """The same, made of the facts alone."""
        return anew_of(self.store, CUSTOMER)

    def close(self) -> None:
        """End it."""
        self._local.close()


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Owner]:
    """A worker over an empty partition."""
    worker = Owner(tmp_path)
    yield worker
    worker.close()


def live_on(worker: Owner, told: list[Happened], rng: random.Random, *, every: int) -> None:
    """Let all of it arrive, with repetitions; look every so many, and through whatever befalls a worker."""
    books = Books()
    told = told + rng.sample(told, len(told) // 10)
    rng.shuffle(told)
    for number, one in enumerate(told, 1):
        books.take(one)
        if rng.random() < 2 / every:
            worker.another(one.telling)
        else:
            of(worker.store, one.telling).settle(None)
        if rng.random() < 0.1:
            worker.chunk()
        if rng.random() < 0.05:
            worker.commit()
        if number % every and number < len(told):
            continue
        view = of(worker.store)
        *expected, listed = books.shown()
        ids = {*rng.sample(sorted(books.arrived), min(len(books.arrived), 40))}
        ids |= {expected[0][0]} if expected[0] else set()
        assert shown(view, ids) == (*expected, {id_: one for id_, one in listed.items() if id_ in ids})
        assert worker.beside() == worker.anew()
        share = share_of(view)
        assert len(share["live"]) <= 1
        rng.choice([worker.restart, worker.crash, worker.move])()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.randoms(use_true_random=False), st.integers(1, 12), st.integers(1, 5))
def test_any_order_through_whatever_befalls(rng: random.Random, subscriptions: int, products: int) -> None:
    """Subscriptions start, change, end and return in any order, through restarts, crashes, moves and other owners."""
    with tempfile.TemporaryDirectory() as name:
        worker = Owner(Path(name))
        try:
            live_on(worker, lives(rng, subscriptions, products), rng, every=5)
        finally:
            worker.close()


@pytest.mark.parametrize("products", [3, 3_000], ids=["few products", "as many products"])
def test_thousands_of_subscriptions(worker: Owner, products: int) -> None:
    """The same with three thousand: an account that looks through all of them agrees."""
    rng = random.Random(products)
    live_on(worker, lives(rng, 3_000, products), rng, every=700)


# What it costs.


@dataclass
class Meter:
    """A store that counts keys that are touched, and their bytes."""

    store: MemoryStore
    began_at_ms: int = 0
    ownership: None = None
    counts: Counter[str] = field(default_factory=Counter)

    def _count(self, what: str, key: bytes, value: bytes | None) -> None:
        self.counts[f"{what} keys"] += 1
        self.counts[f"{what} bytes"] += len(key) + len(value or b"")

    def get(self, key: bytes) -> bytes | None:
        """One read."""
        value = self.store.get(key)
        self._count("read", key, value)
        return value

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """One read for each."""
        for entry in self.store.scan(prefix):
            self._count("read", *entry)
            yield entry

    def put(self, key: bytes, value: bytes | None) -> None:
        """One write."""
        self._count("write", key, value)
        self.store.put(key, value)

    def derived(self, key: bytes) -> bytes | None:
        """One read."""
        value = self.store.derived(key)
        self._count("read", key, value)
        return value

    def derived_between(self, start: bytes, stop: bytes, *, backwards: bool = False) -> Iterator[tuple[bytes, bytes]]:
        """One read for each."""
        for entry in self.store.derived_between(start, stop, backwards=backwards):
            self._count("read", *entry)
            yield entry

    def put_derived(self, key: bytes, value: bytes | None) -> None:
        """One write."""
        self._count("write", key, value)
        self.store.put_derived(key, value)


NAME: Final = orjson.loads(samples.load("payment.succeeded"))["data"]["customer"]["customer_id"].encode()
NEWEST, OLDEST, MIDDLE, ENDED, UNKNOWN = "sub_00009", "sub_00000", "sub_00004", "sub_ended_00009", "sub_new"


def crowd(live: int, products: int) -> MemoryStore:
    """A customer with so many subscriptions that go on, and as many that ended; the named ones are there always."""
    store = MemoryStore()
    numbers = [*range(5), *range(100, 95 + live), *range(5, 10)]  # by creation
    for age, number in enumerate(numbers):
        for begins, status in (("sub_", "active"), ("sub_ended_", "cancelled")):
            id_ = f"{begins}{number:05}"
            product = f"pdt_{age % products:05}" if number < 10 else f"pdt_{10 + age % products:05}"
            one = Happened(id_, BEGAN_MS + age * 1000, status, product, BEGAN_MS + age * 1000)
            CustomerView(store, NAME, Observations(EventTimes(None, 0, 0), [one.telling], Contact(), {})).settle(None)
    return store


Webhook = tuple[str, dict[str, Any]]

WEBHOOKS: Final[dict[str, list[Webhook]]] = {
    "a payment": [("payment.succeeded", {"payment_id": "pay_2", "subscription_id": OLDEST})],
    "a renewal": [("subscription.renewed", {"subscription_id": MIDDLE})],
    "the speaker's new date": [("subscription.updated", {"subscription_id": NEWEST})],
    "the speaker lapses": [("subscription.on_hold", {"subscription_id": NEWEST})],
    "the speaker ends": [("subscription.cancelled", {"subscription_id": NEWEST})],
    "the oldest ends": [("subscription.cancelled", {"subscription_id": OLDEST})],
    "one more": [("subscription.active", {"subscription_id": UNKNOWN})],
    "an ended one returns": [("subscription.active", {"subscription_id": ENDED})],
    "another plan": [("subscription.plan_changed", {"subscription_id": MIDDLE, "product_id": "pdt_other"})],
    "dunning": [("dunning.started", {"subscription_id": MIDDLE})],
    "a refund": [
        ("payment.succeeded", {"payment_id": "pay_2", "subscription_id": OLDEST}),
        ("refund.succeeded", {"payment_id": "pay_2"}),
    ],
    "a lost dispute": [("dispute.lost", {})],
    "another address": [
        ("payment.succeeded", {"payment_id": "pay_2"}),
        ("payment.succeeded", {"payment_id": "pay_3", "customer": {"email": "other@example.com"}}),
    ],
}

POLICIES: Final = {
    "customer_id": Policy(set_created_at=True),
    "email": Policy(person_id_chain=("email",), set_created_at=True),
}


def cost(store: MemoryStore, webhooks: list[Webhook], policy: Policy) -> Counter[str]:
    """What the last of these webhooks reads, writes and sends, once its like came before."""
    for number, (sample, changes) in enumerate(webhooks):
        body = orjson.loads(samples.load(sample))
        at_s = BEGAN_MS // 1000 + 90_000_000 + number
        body["timestamp"] = iso(at_s * 1000)
        body["data"] |= {"created_at": iso(at_s * 1000)} if changes.get("subscription_id") == UNKNOWN else {}
        customer = changes.get("customer", {})
        body["data"] |= {name: value for name, value in changes.items() if name != "customer"}
        if isinstance(body["data"].get("customer"), dict):
            body["data"]["customer"] |= {"customer_id": NAME.decode(), **customer}
        headers = (("webhook-id", b"msg_%d" % number), ("webhook-timestamp", b"%d" % at_s))
        meter = Meter(store)
        decision = decide(Consumed(orjson.dumps(body), headers), policy, map_webhook, meter)
        assert isinstance(decision.verdict, Operations), decision.verdict
        meter.counts["sent bytes"] = sum(len(one.body) for one in decision.verdict.operations)
        meter.counts["told bytes"] = sum(len(one.value or b"") for one in decision.commands)
    return meter.counts


@pytest.fixture(scope="module")
def crowds() -> dict[tuple[int, int], dict[str, Any]]:
    """Facts, and what lies beside them, by subscriptions that go on and products: made once."""
    return {(live, products): vars(crowd(live, products)) for live in (10, 5_000) for products in (5, 5_000)}


def copy_of(state: dict[str, Any]) -> MemoryStore:
    """Another store with the same in it."""
    store = MemoryStore()
    vars(store).update({name: value.copy() if hasattr(value, "copy") else value for name, value in state.items()})
    return store


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("what", WEBHOOKS)
def test_one_of_thousands_costs_what_one_of_ten_does(
    crowds: dict[tuple[int, int], dict[str, Any]], what: str, policy: str
) -> None:
    """Whatever the webhook: as many keys and bytes with 5,000 subscriptions that go on, and 5,000 that ended."""
    few, many = (cost(copy_of(crowds[live, 5]), WEBHOOKS[what], POLICIES[policy]) for live in (10, 5_000))
    assert {name: many[name] for name in many if name.endswith("keys")} == {
        name: few[name] for name in few if name.endswith("keys")
    }
    assert all(abs(many[name] - few[name]) <= 60 for name in few), (few, many)  # five products, and longer numbers


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("what", WEBHOOKS)
def test_thousands_of_products_cost_what_can_be_told_of_them(
    crowds: dict[tuple[int, int], dict[str, Any]], what: str, policy: str
) -> None:
    """Each of the 5,000 has a product of its own: the summary has as many as an attribute can tell, and no more."""
    few, many = (cost(copy_of(crowds[live, 5_000]), WEBHOOKS[what], POLICIES[policy]) for live in (10, 5_000))
    for name in few:
        most = (MAX_PRODUCTS + 1) * (40 if name.endswith("bytes") else 1)
        assert many[name] - few[name] <= 3 * most, (name, few, many)


@pytest.fixture(scope="module")
def mirrors(
    crowds: dict[tuple[int, int], dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[int, LmdbStore]]:
    """The same in files, by subscriptions that go on."""
    made = {}
    for live in (10, 5_000):
        made[live] = LmdbStore.open(tmp_path_factory.mktemp("crowd"), "t", 0, CUSTOMERS)
        state = crowds[live, 5]
        made[live].write(state["_values"], state["derived_values"], 1)
    yield made
    for mirror in made.values():
        mirror.close()


@pytest.mark.parametrize("what", WEBHOOKS)
def test_the_work_and_the_changelog_over_a_file(mirrors: dict[int, LmdbStore], what: str) -> None:
    """As many calls, and as many bytes for the changelog and the file, for one of 5,000 as for one of ten."""

    def worked(live: int) -> tuple[Counter[str], Counter[str]]:
        store = TransactionalStore(mirrors[live], 0)
        calls: Counter[str] = Counter()

        def count(_: Any, event: str, __: Any) -> None:
            calls[event] += event.endswith("call")

        before = sys.getprofile()
        sys.setprofile(count)
        try:
            cost(cast("MemoryStore", store), WEBHOOKS[what], POLICIES["email"])
        finally:
            sys.setprofile(before)
        sealed = store.seal()
        written: Counter[str] = Counter()
        for name, entries in (("changelog", sealed.changes()), ("derived", sealed.derived.items())):
            for key, value in entries:
                written[f"{name} records"] += 1
                written[f"{name} bytes"] += len(key) + len(value or b"")
        return calls, written

    worked(10)  # what is remembered by value is remembered by now
    (few_calls, few), (many_calls, many) = worked(10), worked(5_000)
    assert few_calls.total() > 50  # in machine code only what is called from outside is seen
    assert abs(many_calls.total() - few_calls.total()) <= 20  # a store looks at its memory once in so many reads
    assert {name: many[name] for name in many if name.endswith("records")} == {
        name: few[name] for name in few if name.endswith("records")
    }
    assert all(abs(many[name] - few[name]) <= 60 for name in few), (few, many)


def test_a_long_life_costs_what_a_short_one_does() -> None:
    """With 5,000 events of half a year each new one takes the place of the oldest, for the same few reads."""
    counts = []
    for events in (10, 5_000):
        store = MemoryStore()
        for number in range(events):
            out_s = BEGAN_MS // 1000 - 200 * 86_400 + number
            store.put(facts.key(NAME, "event", f"{number:026}"), facts.encode([out_s]))
        summary_of(store, NAME)
        body = orjson.loads(samples.load("payment.failed"))
        for number in range(3):
            at_s = BEGAN_MS // 1000 + number
            body["timestamp"] = iso(at_s * 1000)
            body["data"]["payment_id"] = f"pay_{number}"
            headers = (("webhook-id", b"msg_%d" % number), ("webhook-timestamp", b"%d" % at_s))
            meter = Meter(store)
            decide(Consumed(orjson.dumps(body), headers), Policy(), map_webhook, meter)
        counts.append(meter.counts)
        kept = [key for key, _ in store.scan(facts.prefix(NAME, "event"))]
        assert len(kept) == events
        assert kept[0].endswith(b"%026d" % 3)  # the oldest of them have gone, one for each
        assert store.derived_values == anew_of(store, NAME)
    few, many = counts
    assert few["read keys"] == many["read keys"]
    assert few["write keys"] == many["write keys"]


# Single stories.


def test_what_was_told_of_a_dead_letter_moves_nobody() -> None:
    """A view that is not settled leaves every place as it was."""
    store = crowd(10, 5)
    before = dict(store.derived_values)
    one = Happened(NEWEST, BEGAN_MS + 10**9, "cancelled", "pdt_1", BEGAN_MS)
    view = CustomerView(store, NAME, Observations(EventTimes(None, 0, 0), [one.telling], Contact(), {}))
    assert view.speaking is not None
    assert view.speaking.subscription_id != NEWEST
    assert store.derived_values == before


def test_places_that_an_earlier_version_left() -> None:
    """It forgets a customer, and knows nothing of what lies beside the summary: it counts for nobody who comes back."""
    store = MemoryStore()
    of(store, Happened("sub_1", BEGAN_MS, "active", "pdt_1", BEGAN_MS).telling).settle(None)
    store.put(facts.key(CUSTOMER, "subscription", "sub_1"), None)
    store.put_derived(CUSTOMER, None)
    view = of(store, Happened("sub_2", BEGAN_MS, "active", "pdt_1", BEGAN_MS).telling)
    view.settle(None)
    assert view.active == (1, ["pdt_1"])
    assert store.derived_values == anew_of(store, CUSTOMER)


def test_a_place_without_a_fact_is_found_out() -> None:
    """Whatever left it: the summary is made anew of the facts."""
    store = MemoryStore()
    for number in range(3):
        id_ = f"sub_{number}"
        of(store, Happened(id_, BEGAN_MS + number, "active", "pdt_1", BEGAN_MS + number).telling).settle(None)
    store.put(facts.key(CUSTOMER, "subscription", "sub_1"), None)
    of(store, Happened("sub_2", BEGAN_MS + 9, "cancelled", "pdt_1", BEGAN_MS + 2).telling).settle(None)
    view = of(store)
    assert view.speaking is not None
    assert (view.speaking.subscription_id, view.active.subscriptions) == ("sub_0", 1)
    assert Roster(store, CUSTOMER).first(live=True) == "sub_0"


@pytest.mark.parametrize("created_ms", [-(2**63), -1, 0, 2**63, 2**64 - 1])
def test_any_creation_that_a_fact_may_hold(created_ms: int) -> None:
    """The oldest and the newest time that JSON of a fact holds have their places."""
    store = MemoryStore()
    for id_, at in (("sub_a", created_ms), ("sub_b", BEGAN_MS)):
        of(store, Happened(id_, BEGAN_MS, "active", "pdt_1", at).telling).settle(None)
    speaking = of(store).speaking
    assert speaking is not None
    assert speaking.created_at_ms == max(created_ms, BEGAN_MS)


def test_long_and_odd_product_ids() -> None:
    """Ids of any length, and such as begin alike, are told apart and told in full."""
    store = MemoryStore()
    products = ["p" * 96, "p" * 97, "p" * 5_000, "p\0q", "p", "ü" * 60]
    for number, product in enumerate(products):
        of(store, Happened(f"sub_{number}", BEGAN_MS, "active", product, BEGAN_MS).telling).settle(None)
    assert of(store).active == (6, sorted(products))
    for number in range(len(products)):
        of(store, Happened(f"sub_{number}", BEGAN_MS + 9, "expired", "p", BEGAN_MS).telling).settle(None)
    assert of(store).active == (0, [])
    assert [key for key in store.derived_values if b"\0p" in key] == []
