"""Two customers of one address or id are one person: each has its owner, the person a third, and all of them crash."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.customerio.sandbox.actions import validate
from pipeline.customerio.sandbox.config import SandboxConfig
from pipeline.customerio.sandbox.workspace import Arrival, Workspace
from pipeline.dodo import samples
from pipeline.dodo.simulator import Delivery, Shop
from pipeline.kafka.records import OutRecord
from pipeline.statestore.store import MemoryStore
from pipeline.transform.customers import facts
from pipeline.transform.customers.facts import person_key
from pipeline.transform.customers.shape import fits
from pipeline.transform.customers.shared_person import SharedPerson
from pipeline.transform.customers.shares import NOTHING
from pipeline.transform.decision import Decision, decide
from pipeline.transform.mapping import map_webhook
from pipeline.transform.policy import Policy
from pipeline.transform.verdicts import DeadLettered, Dropped, Operations
from tests.records import Consumed

NOW = datetime(2026, 10, 22, 12, tzinfo=UTC)
POLICY = Policy(person_id_chain=("email",))
BY_ID = Policy(person_id_chain=("metadata.account",))
MERGING = Policy(person_id_chain=("email",), merge_on_email_change=True)
ADDRESS, OTHER = "both@example.com", "other@example.com"
ACCOUNT = "acc_7"
PERSON = b"person:"
LIFE = 14
"""Webhooks of one customer in an example."""

BEGAN_S = 1_790_000_000


@dataclass
class Partition:
    """One partition of the webhooks with its owner's state; `acknowledged` records are not read again."""

    log: list[Consumed] = field(default_factory=list)
    acknowledged: int = 0
    store: MemoryStore = field(default_factory=MemoryStore)

    def crash(self, durable: int) -> None:
        """Lose all but the first `durable` records of the changelog."""
        before, self.store = self.store.changelog[:durable], MemoryStore()
        for key, value in before:
            known = self.store.get(key)
            self.store.put(key, facts.merge_at(key, known, value) if known is not None and value is not None else value)


class World:
    """Partitions, whoever owns them, and the workspace that takes what they send at once and in order.

    Args:
        route: which partition a key lies in.
    """

    def __init__(self, route: Callable[[bytes], int], policy: Policy = POLICY) -> None:
        self.policy = policy
        self.route = route
        self.partitions = defaultdict[int, Partition](Partition)
        self.workspace = Workspace(SandboxConfig())
        self.shares: list[OutRecord] = []
        self.clock_ms = BEGAN_S * 1000
        self.operations: list[tuple[str, dict[str, Any]]] = []

    def append(self, key: bytes, value: bytes | None, headers: tuple[tuple[str, bytes], ...]) -> None:
        """Write a record; the broker gives it its time, which is none before what the record tells of."""
        told_s = dict(headers).get("webhook-timestamp", b"0")
        self.clock_ms = max(self.clock_ms + 1, int(told_s) * 1000)
        self.partitions[self.route(key)].log.append(Consumed(value, headers, key, timestamp=self.clock_ms))

    def step(self, number: int, records: int = 1, *, crash: tuple[int, int, int] | None = None) -> None:
        """The owner takes the next records of a partition as one chunk.

        A crash leaves so many of its operations, of its commands (only if all operations are durable) and of its facts
        (only if all commands are); modulo what there is, so that any number will do.
        """
        partition = self.partitions[number]
        written = len(partition.store.changelog)
        chunk = partition.log[partition.acknowledged : partition.acknowledged + records]
        operations: list[tuple[str, bytes]] = []
        commands: list[OutRecord] = []
        for record in chunk:
            decision = self.decide(record, partition.store)
            verdict = decision.verdict
            assert not isinstance(verdict, DeadLettered), verdict
            if isinstance(verdict, Operations):
                operations += [(operation.kind, operation.body) for operation in verdict.operations]
            commands += decision.commands
        if crash is None:
            self._send(operations)
            self._command(commands)
            partition.acknowledged += len(chunk)
            return
        sent = crash[0] % (len(operations) + 1)
        self._send(operations[:sent])
        told = crash[1] % (len(commands) + 1) if sent == len(operations) else 0
        self._command(commands[:told])
        durable = written
        if sent == len(operations) and told == len(commands):
            durable += crash[2] % (len(partition.store.changelog) - written + 1)
        partition.crash(durable)

    def decide(self, record: Consumed, store: MemoryStore) -> Decision:
        """The decision; a share leads to no other."""
        decision = decide(record, self.policy, map_webhook, store)
        if record.key is not None and record.key.startswith(PERSON):
            assert decision.commands == ()
        return decision

    def settle(self) -> None:
        """Let every owner read to the end."""
        while behind := [n for n, p in self.partitions.items() if p.acknowledged < len(p.log)]:
            self.step(behind[0])

    def _send(self, operations: list[tuple[str, bytes]]) -> None:
        for kind, body in operations:
            operation = orjson.loads(body)
            assert validate(operation) == []
            self.operations.append((kind, operation))
            self.workspace.apply(operation, Arrival(self.clock_ms, len(self.operations)), 0)

    def _command(self, commands: list[OutRecord]) -> None:
        for command in commands:
            self.shares.append(command)
            assert command.key is not None
            self.append(command.key, command.value, command.headers)

    def person(self, address: str = ADDRESS) -> dict[str, Any] | None:
        """What the profile shows."""
        found = self.workspace.people.find({"email": address})
        return None if found is None else {"email": found.email, **found.attributes}


@cache
def shop() -> tuple[dict[str, list[Delivery]], dict[str, dict[str, tuple[int, int]]]]:
    """Customers' lives, short ones whole, and what the shop's own books say of them."""
    made = Shop(11, NOW)
    lives: dict[str, list[Delivery]] = defaultdict(list)
    for delivery in made.deliveries(4000):
        if delivery.kind in {"first", "redelivery"} and delivery.customer_id is not None:
            lives[delivery.customer_id].append(delivery)
    spent = made.ledger.spent
    return {name: life for name, life in lives.items() if 2 < len(life) <= LIFE and name in spent}, spent


def records_of(life: list[Delivery]) -> list[Consumed]:
    """The customer's webhooks, all of them with the one address and the one account."""
    records = []
    for number, delivery in enumerate(life):
        body = orjson.loads(delivery.body)
        if isinstance(body["data"].get("customer"), dict):
            body["data"]["customer"] |= {"email": ADDRESS, "metadata": {"account": ACCOUNT}}
        at_s = delivery.timestamp + number
        headers = (("webhook-id", delivery.webhook_id.encode()), ("webhook-timestamp", b"%d" % at_s))
        records.append(Consumed(orjson.dumps(body), headers))
    return records


def ledger(*customers: str) -> dict[str, int]:
    """Currency → what these customers paid less what came back, from the shop's own books."""
    total: Counter[str] = Counter()
    for customer_id in customers:
        for currency, (paid, refunded) in shop()[1][customer_id].items():
            total[currency] += paid - refunded
    return dict(total)


def sales(*lives: list[Consumed]) -> list[tuple[datetime, str]]:
    """When and in which currency these webhooks tell that money was paid, the first one first."""
    found = {}
    for life in lives:
        for record in life:
            body = orjson.loads(record.value or b"")
            data = body["data"]
            if body["type"] == "payment.succeeded" and data["total_amount"] and not data["is_update_payment_method"]:
                found[data["payment_id"]] = (datetime.fromisoformat(body["timestamp"]), data["currency"])
    return sorted(found.values())


def check_sums(person: dict[str, Any] | None, customers: list[str], lives: list[list[Consumed]]) -> None:
    """The profile has what both paid together, by books that the pipeline never saw."""
    assert person is not None
    told = {
        name[len("total_spent_") : -len("_minor")].upper(): value
        for name, value in person.items()
        if name.startswith("total_spent_") and name.endswith("_minor") and name != "total_spent_minor"
    }
    assert told == ledger(*customers)
    paid = sales(*lives)
    assert person["payment_count"] == len(paid)
    assert person["customer_since_unix"] == int(paid[0][0].timestamp())
    assert person["last_payment_date_unix"] == int(paid[-1][0].timestamp())
    assert person["total_spent_currency"] == paid[0][1]
    assert person["total_spent_minor"] == told[paid[0][1]]


PIECES = st.tuples(st.integers(0, 2), st.integers(1, 5), st.none() | st.tuples(*[st.integers(0, 40)] * 3))
"""Which owner goes on, over how many records, and how it crashes over them, if so."""


@pytest.mark.parametrize("policy", [POLICY, BY_ID], ids=["email", "metadata"])
@settings(deadline=None)  # the first example makes the shop
@given(st.data())
def test_any_interleaving_with_crashes_ends_in_the_sum(policy: Policy, data: st.DataObject) -> None:
    """Webhooks in any order and again, shares late and again, crashes between any two steps: the same whole profile."""
    lives, _ = shop()
    customers = data.draw(st.lists(st.sampled_from(sorted(lives)), min_size=2, max_size=2, unique=True))
    first, second = (records_of(lives[customer_id]) for customer_id in customers)
    expected = World(lambda key: 2 if key.startswith(PERSON) else customers.index(key.decode()), policy)
    for customer_id, life in zip(customers, (first, second), strict=True):
        for record in life:
            expected.append(customer_id.encode(), record.value, record.headers)
    expected.settle()
    check_sums(expected.person(), customers, [first, second])

    home = data.draw(st.integers(0, 2))
    world = World(lambda key: home if key.startswith(PERSON) else customers.index(key.decode()), policy)
    for customer_id, life in zip(customers, (first, second), strict=True):
        again = data.draw(st.lists(st.sampled_from(life), max_size=4))
        for record in data.draw(st.permutations(life + again)):
            world.append(customer_id.encode(), record.value, record.headers)
    for number, records, crash in data.draw(st.lists(PIECES, max_size=30)):
        world.step(number, records, crash=crash)
        is_late: bool = data.draw(st.booleans())
        if world.shares and is_late:
            late = data.draw(st.sampled_from(world.shares))
            world.append(late.key or b"", late.value, late.headers)
    world.settle()
    assert world.person() == expected.person()


# Single stories.


def payment(customer_id: str, number: int, **data: Any) -> Consumed:
    """The customer's payment number so and so: one a day."""
    body = orjson.loads(samples.load("payment.succeeded"))
    at_s = BEGAN_S + number * 86_400
    customer = body["data"]["customer"] | {"customer_id": customer_id, "email": ADDRESS} | data.pop("customer", {})
    body["timestamp"] = datetime.fromtimestamp(at_s, UTC).isoformat()
    body["data"] |= {"payment_id": f"pay_{number}", "total_amount": 1000, "currency": "USD", "refunds": None} | data
    body["data"]["customer"] = customer
    headers = (("webhook-id", b"msg_%d" % number), ("webhook-timestamp", b"%d" % at_s))
    return Consumed(orjson.dumps(body), headers, customer_id.encode())


def forget(customer_id: str, number: int, customerio: str | None) -> Consumed:
    """The command to forget a customer on that day."""
    at_s = BEGAN_S + number * 86_400
    value = {"command": "forget", "customer_id": customer_id, "customerio": customerio, "at": at_s}
    headers = (
        ("dodo-command", b"forget"), ("webhook-id", b"forget_1"), ("webhook-timestamp", b"%d" % at_s),
        ("dodo-mode", b"live"),
    )  # fmt: skip
    return Consumed(orjson.dumps(value), headers, customer_id.encode())


MOVES = st.lists(st.tuples(st.booleans(), st.sampled_from([ADDRESS, OTHER])), min_size=1, max_size=8)
"""Payments in the order of their days: whose, and with which address."""


@pytest.mark.parametrize("durable", range(1, 10))
def test_a_crash_in_the_midst_of_a_request_to_be_forgotten(durable: int) -> None:
    """Some facts of its chunk are durable: a late webhook in it, with a former address, still names nobody by that."""
    world = World(lambda key: 0 if key.startswith(PERSON) else 1)
    late = payment("cus_b", 2, customer={"email": OTHER})
    for record in (payment("cus_b", 1), payment("cus_b", 4), late, forget("cus_b", 6, "delete")):
        world.append(record.key or b"", record.value, record.headers)
    world.step(1, 2)
    before = len(world.partitions[1].store.changelog)
    world.step(1, 2, crash=(3, 3, durable))
    assert len(world.partitions[1].store.changelog) == before + durable
    world.settle()
    assert [operation for _, operation in world.operations if OTHER in str(operation["identifiers"])] == []
    assert world.person(OTHER) is None
    left = [name for name, _ in world.partitions[1].store.scan(b"cus_b\0")]
    assert left == [b"cus_b\0forgotten\0", b"cus_b\0request\0", b"cus_b\0shared\0"]


@given(st.data())
def test_whoever_moves_takes_the_share_along(data: st.DataObject) -> None:
    """Addresses change back and forth, in any order and with crashes; one customer may be forgotten in the end."""
    moves = data.draw(MOVES)
    forgotten: str | None = data.draw(st.sampled_from([None, "cus_a", "cus_b"]))
    home = data.draw(st.integers(0, 2))
    customers = ["cus_a", "cus_b"]

    def route(key: bytes) -> int:
        if key.startswith(PERSON):
            return (home + key.endswith(OTHER.encode())) % 3
        return customers.index(key.decode())

    world = World(route)
    live: dict[str, str] = {}
    paid: Counter[str] = Counter()
    records = []
    for day, (is_second, address) in enumerate(moves):
        customer_id = customers[is_second]
        live[customer_id] = address
        paid[customer_id] += 1000
        records.append(payment(customer_id, day, customer={"email": address}))
    again = data.draw(st.lists(st.sampled_from(records), max_size=3))
    for record in data.draw(st.permutations(records + again)):
        world.append(record.key or b"", record.value, record.headers)
    if forgotten is not None:
        command = forget(forgotten, len(moves), None)
        world.append(forgotten.encode(), command.value, command.headers)
    for number, count, crash in data.draw(st.lists(PIECES, max_size=15)):
        world.step(number, count, crash=crash)
    world.settle()
    for address in (ADDRESS, OTHER):
        here = [customer_id for customer_id, at in live.items() if at == address]
        stay = [customer_id for customer_id in here if customer_id != forgotten]
        if stay or not here:
            minor = sum(paid[customer_id] for customer_id in stay) or None
            assert (sums(world.person(address)) or (None, None))[0] == minor


def test_a_crash_between_a_share_and_what_was_told() -> None:
    """What was sent and not noted is sent again with its time, so nothing that comes later is older than it."""
    world = World(lambda key: 2 if key.startswith(PERSON) else (b"cus_a", b"cus_b").index(key))
    for record in (payment("cus_b", 6), payment("cus_b", 7), payment("cus_a", 0)):
        world.append(record.key or b"", record.value, record.headers)
    world.step(1, 2)
    world.step(2)
    world.step(2, crash=(1, 0, 1))  # the identify is durable, and the share: that the identify was sent is not
    world.settle()
    assert sums(world.person()) == (3000, 3)


def one_partition(policy: Policy = POLICY) -> World:
    """A world where all lies in one partition."""
    return World(lambda _: 0, policy)


def fed(world: World, *records: Consumed) -> list[tuple[str, dict[str, Any]]]:
    """Put these and read to the end; the operations that were sent for them."""
    before = len(world.operations)
    for record in records:
        world.append(record.key or b"", record.value, record.headers)
        world.settle()
    return world.operations[before:]


def sums(person: dict[str, Any] | None) -> tuple[Any, Any] | None:
    """What was spent and how often; None for nobody."""
    return None if person is None else (person.get("total_spent_usd_minor"), person.get("payment_count"))


def test_first_identify_is_the_customers() -> None:
    """The customer's own identify, a barrier, has the contact; event; then the sums, without a barrier."""
    world = one_partition()
    record = payment("cus_a", 1)
    decision = world.decide(record, world.partitions[0].store)
    assert isinstance(decision.verdict, Operations)
    assert [operation.barrier for operation in decision.verdict.operations] == [True, False]
    identify = orjson.loads(decision.verdict.operations[0].body)
    assert set(identify["attributes"]) == {"email", "name", "phone", "country"}
    (share,) = decision.commands
    assert share.key == person_key("both@example.com")
    told = decide(Consumed(share.value, share.headers, share.key), POLICY, map_webhook, MemoryStore())
    assert isinstance(told.verdict, Operations)
    ((person,),) = [[orjson.loads(operation.body) for operation in told.verdict.operations]]
    assert person["identifiers"] == {"email": ADDRESS}
    assert person["timestamp"] > identify["timestamp"]
    assert person["attributes"]["total_spent_minor"] == 1000
    assert told.verdict.operations[0].barrier is False
    assert told.verdict.person_key == decision.verdict.person_key


def test_subscriptions_of_both() -> None:
    """The best subscription of either speaks; the active ones are one list."""
    world = one_partition()
    for number, (customer_id, status) in enumerate((("cus_a", "active"), ("cus_b", "on_hold"), ("cus_b", "active"))):
        body = orjson.loads(samples.load("subscription.active"))
        body["type"] = "subscription.updated"
        body["data"]["customer"] |= {"customer_id": customer_id, "email": ADDRESS}
        body["data"] |= {"subscription_id": f"sub_{number}", "product_id": f"pdt_{number}", "status": status}
        body["data"]["created_at"] = f"2026-10-1{number}T00:00:00Z"
        headers = (("webhook-id", b"msg_%d" % number), ("webhook-timestamp", b"%d" % (BEGAN_S + number)))
        fed(world, Consumed(orjson.dumps(body), headers, customer_id.encode()))
    person = world.person()
    assert person is not None
    assert (person["subscription_id"], person["active_subscriptions"]) == ("sub_2", 2)
    assert person["active_product_ids"] == ["pdt_0", "pdt_2"]


def test_a_share_does_not_grow_with_the_subscriptions() -> None:
    """It has the one that speaks, how many more are active and their products; the person has all of them."""
    world = one_partition()
    sizes = []
    for number in range(60):
        customer_id = f"cus_{'ab'[number % 2]}"
        body = orjson.loads(samples.load("subscription.active"))
        body["data"]["customer"] |= {"customer_id": customer_id, "email": ADDRESS}
        body["data"] |= {"subscription_id": f"sub_{number:02}", "product_id": f"pdt_{number % 3}"}
        body["data"]["created_at"] = datetime.fromtimestamp(BEGAN_S + number, UTC).isoformat()
        body["timestamp"] = datetime.fromtimestamp(BEGAN_S + number, UTC).isoformat()
        headers = (("webhook-id", b"msg_%d" % number), ("webhook-timestamp", b"%d" % (BEGAN_S + number)))
        fed(world, Consumed(orjson.dumps(body), headers, customer_id.encode()))
        share = orjson.loads(world.shares[-1].value or b"")["share"]
        assert [*share["live"]] == [f"sub_{number:02}"]
        sizes.append(len(world.shares[-1].value or b""))
    assert max(sizes[10:]) - min(sizes[10:]) <= 4
    person = world.person()
    assert person is not None
    assert (person["subscription_id"], person["active_subscriptions"]) == ("sub_59", 60)
    assert person["active_product_ids"] == ["pdt_0", "pdt_1", "pdt_2"]
    fed(world, forget("cus_b", 1, None))
    person = world.person()
    assert person is not None
    assert (person["subscription_id"], person["active_subscriptions"]) == ("sub_58", 30)


def test_a_redelivery_sends_no_share() -> None:
    """What changes nothing costs the person's owner nothing."""
    world = one_partition()
    record = payment("cus_a", 1)
    fed(world, record)
    assert len(world.shares) == 1
    assert fed(world, record) == []
    assert len(world.shares) == 1


def subscribed(number: int, **data: Any) -> Consumed:
    """A webhook about a subscription whose customer it names by id alone: one a day, the first one an activation."""
    body = orjson.loads(samples.load("subscription.active"))
    body["type"] = "subscription.updated" if number else body["type"]
    at_s = BEGAN_S + number * 86_400
    began = datetime.fromtimestamp(BEGAN_S, UTC).isoformat()
    body["timestamp"] = datetime.fromtimestamp(at_s, UTC).isoformat()
    about = {"subscription_id": "sub_1", "customer": {"customer_id": "cus_a"}, "billing": None, "created_at": began}
    body["data"] |= about | data
    headers = (("webhook-id", b"msg_s%d" % number), ("webhook-timestamp", b"%d" % at_s))
    return Consumed(orjson.dumps(body), headers, b"cus_a")


def test_what_sends_nothing_of_its_own_is_shared() -> None:
    """Of a customer without a contact an update has neither identify nor event: the person's dates follow."""
    world = one_partition()
    fed(world, subscribed(0, next_billing_date="2026-10-30T00:00:00Z"))
    (person,) = world.workspace.people
    assert person.attributes["next_billing"] == "2026-10-30T00:00:00Z"
    sent = fed(world, subscribed(1, next_billing_date="2026-11-30T00:00:00Z"))
    assert [(kind, body["identifiers"]) for kind, body in sent] == [("identify", {"id": "cus_a"})]
    assert person.attributes["next_billing"] == "2026-11-30T00:00:00Z"
    shares = len(world.shares)
    assert fed(world, subscribed(1, next_billing_date="2026-11-30T00:00:00Z")) == []
    assert len(world.shares) == shares


def test_a_profile_without_a_contact_is_shared_by_a_backfill() -> None:
    """It sends no identify of the customer's own, and the person's is sent."""
    world = one_partition()
    fed(world, subscribed(0))
    (person,) = world.workspace.people
    data = orjson.loads(payment("cus_a", 1).value or b"")["data"] | {"customer": {"customer_id": "cus_a"}}
    data.pop("billing")
    value = {"command": "backfill", "object": "payment", "data": data, "customer_id": "cus_a", "read_at": BEGAN_S + 9}
    headers = (("dodo-command", b"backfill"), ("webhook-id", b"backfill_payment_1"), ("dodo-mode", b"live"))
    body = orjson.dumps(value | {"emit_identify": True, "revive": False})
    assert [kind for kind, _ in fed(world, Consumed(body, headers, b"cus_a"))] == ["identify"]
    assert person.attributes["payment_count"] == 1


def test_other_policies_share_nothing() -> None:
    """Where people go by another id there is no record and no fact more."""
    for policy in (Policy(), Policy(person_id_chain=("customer_id", "email"))):
        world = one_partition(policy)
        fed(world, payment("cus_a", 1), payment("cus_b", 2))
        assert world.shares == []
        kinds = {facts.split(key)[1] for key, _ in world.partitions[0].store.changelog}
        assert kinds == {"payment", "identity"}


def test_one_id_under_several_keys() -> None:
    """An id is one person, whichever step names it: a key, another one, or a customer's own id at Dodo."""
    world = one_partition(Policy(person_id_chain=("metadata.account", "metadata.user", "customer_id")))
    fed(world, payment("cus_a", 1, customer={"metadata": None}))
    fed(world, payment("cus_b", 2, customer={"metadata": {"user": "cus_a"}}))
    fed(world, payment("cus_c", 3, customer={"metadata": {"account": "cus_a"}}))
    (person,) = world.workspace.people
    assert person.id == "cus_a"
    assert sums(person.attributes) == (3000, 3)


def test_an_id_that_looks_like_an_address() -> None:
    """It is another person than whoever has that address, as at Customer.io."""
    world = one_partition(Policy(person_id_chain=("metadata.account", "email")))
    fed(world, payment("cus_a", 1), payment("cus_b", 2, customer={"email": OTHER, "metadata": {"account": ADDRESS}}))
    assert sums(world.person()) == (1000, 1)
    assert sums(world.person(OTHER)) == (1000, 1)
    assert {share.key for share in world.shares} == {person_key(ADDRESS), person_key(ADDRESS, "id")}


def test_several_customers_of_one_person_are_noted() -> None:
    """A number to watch: an id that many carry may be no id at all."""
    world = one_partition(BY_ID)
    account = {"metadata": {"account": ACCOUNT}}
    fed(world, payment("cus_a", 1, customer=account))
    alone = world.decide(
        Consumed(world.shares[-1].value, world.shares[-1].headers, world.shares[-1].key), MemoryStore()
    )
    assert isinstance(alone.verdict, Operations)
    assert "shared-person" not in alone.verdict.notes
    fed(world, payment("cus_b", 2, customer=account))
    share = world.shares[-1]
    verdict = world.decide(Consumed(share.value, share.headers, share.key), world.partitions[0].store).verdict
    assert isinstance(verdict, Operations)
    assert verdict.notes == ("shared-person",)
    assert verdict.warnings == ("2 customers at Dodo are this one person, with the totals of all",)


@pytest.mark.parametrize("customerio", [None, "delete"])
def test_forgotten_customer_of_an_id(customerio: str | None) -> None:
    """The person stays, or comes back, with what the other customer of the id has."""
    world = one_partition(BY_ID)
    account = {"metadata": {"account": ACCOUNT}}
    fed(world, payment("cus_a", 1, customer=account), payment("cus_b", 2, customer=account))
    fed(world, forget("cus_a", 3, customerio))
    (person,) = world.workspace.people
    assert (person.id, *(sums(person.attributes) or ())) == (ACCOUNT, 1000, 1)


def test_forgetting_one_of_those_without_an_id() -> None:
    """A placeholder names nobody: three strangers are three people, and one of them goes alone."""
    world = one_partition(Policy(person_id_chain=("metadata.account", "customer_id")))
    for number, value in enumerate(("undefined", "null", 0)):
        customer_id = f"cus_{number}"
        address = f"{customer_id}@example.com"
        fed(world, payment(customer_id, number, customer={"email": address, "metadata": {"account": value}}))
    fed(world, forget("cus_1", 3, "delete"))
    assert {person.id: sums(person.attributes) for person in world.workspace.people} == {
        "cus_0": (1000, 1),
        "cus_2": (1000, 1),
    }


def test_a_share_of_the_first_form_is_read_on() -> None:
    """Facts that an earlier version wrote about an address: the next share is newer and replaces it."""
    world = one_partition()
    fed(world, payment("cus_a", 1))
    shared = facts.key(b"cus_a", "shared", "")
    before = orjson.loads(world.partitions[0].store.get(shared) or b"")
    assert before[1:2] == [ADDRESS]
    assert len(before) == 3
    world.partitions[0].store.put(shared, orjson.dumps([before[0] + 5, ADDRESS, "9" * 32]))
    fed(world, payment("cus_a", 2))
    assert sums(world.person()) == (2000, 2)


def test_without_the_state_nothing_is_shared() -> None:
    """Each webhook by itself: the identify has what the body has."""
    decision = decide(payment("cus_a", 1), POLICY, map_webhook)
    assert decision.commands == ()
    assert isinstance(decision.verdict, Operations)
    assert "last_payment_date" in orjson.loads(decision.verdict.operations[0].body)["attributes"]


def test_who_paid_last_decides_the_name() -> None:
    """Also after the other one's own identify, which is no news of the person but was written over it."""
    world = one_partition()
    fed(world, payment("cus_a", 1, customer={"name": "Ann"}), payment("cus_b", 2, customer={"name": "Bea"}))
    body = orjson.loads(payment("cus_a", 3, customer={"name": "Anna"}).value or b"")
    record = payment("cus_a", 3)
    sent = fed(world, Consumed(orjson.dumps(body | {"type": "payment.failed"}), record.headers, record.key))
    names = [operation["attributes"]["name"] for kind, operation in sent if kind == "identify"]
    assert names == ["Anna", "Bea"]
    assert (world.person() or {})["name"] == "Bea"
    fed(world, payment("cus_a", 4, customer={"name": "Anna"}))
    assert (world.person() or {})["name"] == "Anna"


def test_each_identify_is_followed() -> None:
    """An identify of the customer's own that goes out again, after a crash, has the person's behind it again."""
    world = one_partition()
    fed(world, payment("cus_a", 1))
    before, world.partitions[0].store = world.partitions[0].store, MemoryStore()
    for key, value in before.scan(b""):
        if facts.split(key)[1] in {"shared", "share", "person"}:
            world.partitions[0].store.put(key, value)
    assert [kind for kind, _ in fed(world, payment("cus_a", 1))] == ["identify", "event", "identify"]


def test_a_customer_whose_state_was_lost() -> None:
    """Versions go on from the record's time, so the person's owner believes the new share."""
    world = World(lambda key: 1 if key.startswith(PERSON) else 0)
    fed(world, payment("cus_a", 1), payment("cus_a", 2), payment("cus_a", 3))
    world.partitions[0].store = MemoryStore()
    fed(world, payment("cus_a", 4))
    assert sums(world.person()) == (1000, 1)


def test_unchanged_sums_are_counted() -> None:
    """A share that changes nothing of the sum is skipped with a note."""
    world = one_partition()
    fed(world, payment("cus_a", 1), payment("cus_b", 2))
    value = orjson.loads(world.shares[-1].value or b"") | {"told": False}
    value["version"] += 1
    record = Consumed(orjson.dumps(value), world.shares[-1].headers, world.shares[-1].key)
    decision = world.decide(record, world.partitions[0].store)
    assert isinstance(decision.verdict, Operations)
    assert decision.verdict.operations == ()
    assert decision.verdict.notes == ("shared-person", "unchanged-identify")


def test_older_share_is_dropped() -> None:
    """A share that comes late or again changes nothing."""
    world = one_partition()
    fed(world, payment("cus_a", 1), payment("cus_a", 2))
    for share in world.shares:
        value = orjson.loads(share.value or b"") | {"told": False}
        decision = world.decide(Consumed(orjson.dumps(value), share.headers, share.key), world.partitions[0].store)
        match decision.verdict:
            case Dropped(reason=reason):
                assert (share is world.shares[-1], reason) == (False, "command")
            case Operations(operations=operations):
                assert (share is world.shares[-1], operations) == (True, ())
            case _:
                raise AssertionError(decision.verdict)
    assert sums(world.person()) == (2000, 2)


@pytest.mark.parametrize("leaves", ["cus_a", "cus_b"])
def test_changed_address(leaves: str) -> None:
    """Who goes takes the share along: the old person has what is left, the new one what came."""
    world = one_partition()
    fed(world, payment("cus_a", 1), payment("cus_b", 2, currency="EUR", total_amount=700))
    fed(world, payment(leaves, 3, customer={"email": OTHER}))
    old, new = world.person(), world.person(OTHER)
    assert old is not None
    assert new is not None
    left = {
        "cus_a": (700, "total_spent_eur_minor", "total_spent_usd"),
        "cus_b": (1000, "total_spent_usd_minor", "total_spent_eur"),
    }
    minor, name, gone = left[leaves]
    assert (old[name], old["total_spent_minor"], old["payment_count"]) == (minor, minor, 1)
    assert not [attribute for attribute in old if attribute.startswith(gone)]
    assert new["payment_count"] == 2
    fed(world, payment(leaves, 4))
    assert world.person() == {**old, **(world.person() or {})}
    assert (world.person() or {})["payment_count"] == 4


def test_last_one_leaves() -> None:
    """The old person keeps a name and no sums."""
    world = one_partition()
    fed(world, payment("cus_a", 1), payment("cus_a", 2, customer={"email": OTHER}))
    old = world.person()
    assert old is not None
    assert set(old) == {"email", "name", "phone", "country"}
    assert sums(world.person(OTHER)) == (2000, 2)


def test_merged_address() -> None:
    """With merging the old person is gone and does not come back; the new one has the sums."""
    world = one_partition(MERGING)
    sent = fed(world, payment("cus_a", 1), payment("cus_a", 2, customer={"email": OTHER}))
    first, second, behind = ["identify", "event", "identify"], ["identify", "merge", "event"], ["merge", "identify"]
    assert [kind for kind, _ in sent] == [*first, *second, *behind]
    assert world.person() is None
    assert sums(world.person(OTHER)) == (2000, 2)


def test_merged_address_of_two() -> None:
    """The one who stays is a person again, with the sums of that customer alone."""
    world = one_partition(MERGING)
    fed(world, payment("cus_a", 1), payment("cus_b", 2), payment("cus_a", 3, customer={"email": OTHER}))
    assert sums(world.person()) == (1000, 1)
    assert sums(world.person(OTHER)) == (2000, 2)


@pytest.mark.parametrize("customerio", [None, "delete"])
def test_forgotten_customer(customerio: str | None) -> None:
    """The share of the one is gone from the person, who stays with what the other has."""
    world = one_partition()
    fed(world, payment("cus_a", 1), payment("cus_b", 2))
    fed(world, forget("cus_a", 3, customerio))
    assert sums(world.person()) == (1000, 1)
    store = world.partitions[0].store
    assert [facts.split(key)[1:] for key, _ in store.scan(facts.prefix(b"cus_a"))] == [
        ("forgotten", ""),
        ("request", ""),
        ("shared", ""),
    ]
    fed(world, payment("cus_a", 4))
    assert sums(world.person()) == (2000, 2)


@pytest.mark.parametrize("customerio", [None, "delete"])
def test_last_one_is_forgotten(customerio: str | None) -> None:
    """Of whom nobody is left only the removal is sent again, so a deleted person stays so; no address is left here."""
    world = one_partition()
    fed(world, payment("cus_a", 1))
    before = world.person()
    assert [kind for kind, _ in fed(world, forget("cus_a", 2, customerio))] == (
        [] if customerio is None else ["delete"] * 4
    )
    assert world.person() == (before if customerio is None else None)
    left = [(key, value) for key, value in world.partitions[0].store.scan(person_key(ADDRESS) + b"\0")]
    assert [facts.split(key)[1:] for key, _ in left] == [("person", ""), ("share", "cus_a")]
    assert orjson.loads(left[1][1])[1] is None
    everything = b"".join(key + value for key, value in world.partitions[0].store.scan(b""))
    assert ADDRESS.encode() not in everything


BY_USER = Policy(person_id_chain=("metadata.account",), merge_default_id=True)
"""People by an id of metadata; whoever stood in is merged."""


def apart(policy: Policy = POLICY) -> World:
    """A world in which people's owners are behind: their partition is 0, and that of all customers 1."""
    return World(lambda key: 0 if key.startswith(PERSON) else 1, policy)


def ahead(world: World, *records: Consumed, chunk: int = 1) -> list[tuple[str, dict[str, Any]]]:
    """Let the customers' owner take these, while people's owners read nothing; the operations that it sent."""
    before = len(world.operations)
    for record in records:
        world.append(record.key or b"", record.value, record.headers)
    customers = world.partitions[1]
    while customers.acknowledged < len(customers.log):
        world.step(1, chunk)
    return world.operations[before:]


@pytest.mark.parametrize("chunk", [1, 2])
@pytest.mark.parametrize("policy", [POLICY, BY_ID, BY_USER], ids=["email", "metadata", "merging"])
def test_a_share_that_its_reader_meets_behind_the_request(policy: Policy, chunk: int) -> None:
    """Whoever adds up is late, and brings nobody back: the removal is once more the last word about the person."""
    world = apart(policy)
    account = {"metadata": {"account": ACCOUNT}}
    ahead(world, payment("cus_a", 1, customer=account), forget("cus_a", 2, "delete"), chunk=chunk)
    world.settle()
    assert [kind for kind, _ in world.operations[-2:]] == ["delete", "delete"]
    assert "identify" in [kind for kind, _ in world.operations[-4:-2]]
    assert list(world.workspace.people) == []


def test_a_suppressed_person_is_suppressed_once_more() -> None:
    """The last word is the request's own action."""
    world = apart()
    ahead(world, payment("cus_a", 1), forget("cus_a", 2, "suppress"))
    world.settle()
    assert {kind for kind, _ in world.operations[-2:]} == {"suppress"}
    assert list(world.workspace.people) == []


def test_customers_of_one_person_are_forgotten_at_once() -> None:
    """The requests overtake both shares' ways back: of the last one nothing is left, and so nobody is."""
    world = apart()
    ahead(world, payment("cus_a", 1), payment("cus_b", 2))
    world.settle()
    ahead(world, forget("cus_a", 3, "delete"), forget("cus_b", 3, "delete"))
    world.settle()
    assert list(world.workspace.people) == []


def test_a_stand_in_whose_share_is_read_late() -> None:
    """What went to the customer's id before the person was known does not come back there either."""
    world = apart(BY_ID)
    body = orjson.loads(samples.load("license_key.created"))
    body["data"] = body["data"] | {"customer_id": "cus_a"}
    body["data"].pop("customer", None)
    headers = (("webhook-id", b"msg_0"), ("webhook-timestamp", b"%d" % BEGAN_S))
    key = Consumed(orjson.dumps(body), headers, b"cus_a")
    active = orjson.loads(samples.load("subscription.active"))
    active["data"]["customer"] = {"customer_id": "cus_a"}
    subscribed = Consumed(orjson.dumps(active), (("webhook-id", b"msg_1"), headers[1]), b"cus_a")
    known = payment("cus_a", 1, customer={"metadata": {"account": ACCOUNT}})
    ahead(world, key, subscribed, known, forget("cus_a", 2, "delete"))
    assert any(share.key == person_key("cus_a", "id") for share in world.shares)
    world.settle()
    assert list(world.workspace.people) == []


def test_a_second_request_reaches_whoever_adds_up() -> None:
    """The first one left the person alone; the share of before it is read behind the second one."""
    world = apart(BY_ID)
    account = {"metadata": {"account": ACCOUNT}}
    again = forget("cus_a", 3, "delete")
    again = Consumed(again.value, (again.headers[0], ("webhook-id", b"forget_2"), *again.headers[2:]), again.key)
    ahead(world, payment("cus_a", 1, customer=account), forget("cus_a", 2, None), again)
    world.settle()
    assert list(world.workspace.people) == []


@pytest.mark.parametrize("customerio", [None, "delete"])
def test_who_comes_back_before_the_share_was_read(customerio: str | None) -> None:
    """The new customer's share lies behind the last word: the profile is there in the end, with the new sums."""
    world = apart()
    ahead(world, payment("cus_a", 1), forget("cus_a", 2, customerio), payment("cus_a", 3, total_amount=700))
    world.settle()
    assert sums(world.person()) == (700, 1)
    assert (world.person() or {})["name"] is not None


def test_the_last_word_comes_again_with_its_record() -> None:
    """A crash behind the removal repeats it; once a share lies behind it, it removes nobody."""
    world = apart()
    ahead(world, payment("cus_a", 1), forget("cus_a", 2, "delete"))
    world.step(0)
    world.step(0, crash=(1, 0, 1))
    world.settle()
    assert list(world.workspace.people) == []
    ahead(world, payment("cus_a", 3))
    world.settle()
    for share in list(world.shares):
        fed(world, Consumed(share.value, share.headers, share.key))
    assert sums(world.person()) == (1000, 1)


@pytest.mark.parametrize("customerio", [None, "delete"])
def test_an_older_share_that_comes_again_behind_the_last_word(customerio: str | None) -> None:
    """Offsets that are set back, or a command that is put back: nobody's profile is written where nobody is left."""
    world = apart()
    ahead(world, payment("cus_a", 1), forget("cus_a", 2, customerio))
    world.settle()
    before = world.person()
    share = world.shares[0]
    assert fed(world, Consumed(share.value, share.headers, share.key)) == []
    assert world.person() == before


@pytest.mark.parametrize("chunk", [1, 2])
def test_a_merge_that_its_former_person_s_reader_meets_late(chunk: int) -> None:
    """The share of the old address is read behind the merge: who came back with it is merged again."""
    world = apart(MERGING)
    ahead(world, payment("cus_a", 1), payment("cus_a", 2, customer={"email": OTHER}), chunk=chunk)
    world.settle()
    assert world.person() is None
    assert sums(world.person(OTHER)) == (2000, 2)
    (merge,) = [body for kind, body in world.operations[-3:] if kind == "merge"]
    assert (merge["primary"], merge["secondary"]) == ({"email": OTHER}, {"email": ADDRESS})


def test_a_stand_in_that_is_merged_late() -> None:
    """The same of the customer's id, once the person is known."""
    world = apart(BY_USER)
    active = orjson.loads(samples.load("subscription.active"))
    active["data"]["customer"] = {"customer_id": "cus_a"}
    headers = (("webhook-id", b"msg_0"), ("webhook-timestamp", b"%d" % BEGAN_S))
    subscribed = Consumed(orjson.dumps(active), headers, b"cus_a")
    ahead(world, subscribed, payment("cus_a", 1, customer={"metadata": {"account": ACCOUNT}}))
    assert any(share.key == person_key("cus_a", "id") for share in world.shares)
    world.settle()
    assert [person.id for person in world.workspace.people] == [ACCOUNT]


def test_share_that_comes_after_the_end() -> None:
    """A forgotten customer's older share does not bring the sums back."""
    world = one_partition()
    fed(world, payment("cus_a", 1), payment("cus_b", 2), forget("cus_a", 3, None))
    for share in list(world.shares):
        fed(world, Consumed(share.value, share.headers, share.key))
    assert sums(world.person()) == (1000, 1)


def test_backfill_shares_where_it_identifies() -> None:
    """In silence nothing is sent; with the identify the sums follow the same way."""
    world = one_partition()
    data = orjson.loads(payment("cus_a", 1).value or b"")["data"]
    value = {"command": "backfill", "object": "payment", "data": data, "customer_id": "cus_a", "read_at": BEGAN_S}
    headers = (("dodo-command", b"backfill"), ("webhook-id", b"backfill_payment_1"), ("dodo-mode", b"live"))
    for emit in (False, True):
        body = orjson.dumps(value | {"emit_identify": emit, "revive": False})
        sent = fed(world, Consumed(body, headers, b"cus_a"))
        assert [kind for kind, _ in sent] == (["identify", "identify"] if emit else [])
    assert sums(world.person()) == (1000, 1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"email": None},
        {"email": "Upper@example.com"},
        {"id": "u_7"},
        {"email": None, "id": 7},
        {"email": None, "id": ""},
        {"email": None, "id": "u" * 151},
        {"version": "7"},
        {"version": True},
        {"delivered": 7},
        {"share": []},
        {"share": {}},
        {"share": {"spent": {}}},
        {"share": {**NOTHING, "more_active": [-1, []]}},
        {"share": {**NOTHING, "more_active": [1, [None]]}},
        {"share": {**NOTHING, "more_active": 1}},
        {"share": {**NOTHING, "others": 1}},
        {"customer_id": ""},
        {"customer_id": "person:x"},
        {"customerio": "purge"},
        {"customerio": ["delete"]},
        {"merged_into": "other@example.com"},
        {"merged_into": {"email": "Upper@example.com"}},
        {"merged_into": {"email": "both@example.com"}},
    ],
)
def test_what_is_no_share(wrong: dict[str, Any]) -> None:
    """A share that cannot be understood is a dead letter and leaves nothing behind."""
    world = one_partition()
    fed(world, payment("cus_a", 1))
    share = world.shares[0]
    store = MemoryStore()
    value = orjson.dumps(orjson.loads(share.value or b"") | wrong)
    verdict = decide(Consumed(value, share.headers, share.key), POLICY, map_webhook, store).verdict
    assert isinstance(verdict, DeadLettered)
    assert "bug" not in verdict.reason
    assert store.changelog == []


def test_nobody_is_called_like_a_person() -> None:
    """A customer id cannot lead to the facts of people."""
    assert facts.customer_key("person:abc") is None
    assert facts.customer_key("persons") == b"persons"


def test_a_share_of_the_former_version_is_read_on() -> None:
    """Its subscriptions have no price: what is shown of one is null, and nothing else of the person is lost."""
    share: dict[str, Any] = {
        "payment_count": 1, "spent": {"USD": 4900}, "first": [1, "pay_1", "2026-10-22T09:13:01Z"],
        "base": [1, "pay_1", "USD"], "last": [1, "pay_1", "2026-10-22T09:13:01Z"], "method": None,
        "has_lost_dispute": False, "live": {"sub_1": ["active", "pdt_1", "2026-11-22T09:13:02Z", False, 5]},
        "rest": ["sub_0", "cancelled", None, None, False, 4], "contact": ["a@example.com", None, None, None],
        "metadata": {},
    }  # fmt: skip
    assert fits("share", [1, share])
    person = SharedPerson("a@example.com", "email", {b"cus_1": share}, 1)
    speaking = person.speaking
    assert speaking is not None
    assert (speaking.subscription_id, speaking.next_billing) == ("sub_1", "2026-11-22T09:13:02Z")
    assert (speaking.minor, speaking.trial_ends_ms) == (None, None)
    assert person.active == (1, ["pdt_1"])
    assert person.spending.minor == {"USD": 4900}
    assert person.card is None
