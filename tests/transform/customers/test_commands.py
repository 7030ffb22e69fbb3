"""Commands about one customer: a past brought over, and a customer forgotten."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from typing import Any

import orjson
import pytest

from pipeline.customerio.sandbox.actions import validate
from pipeline.customerio.sandbox.config import SandboxConfig
from pipeline.customerio.sandbox.workspace import Arrival, Workspace
from pipeline.dodo import samples
from pipeline.statestore.store import MemoryStore
from pipeline.transform.customers import facts
from pipeline.transform.customers.requests import DIGEST, PEOPLE, digest_of
from pipeline.transform.customers.turns import READING_MS
from pipeline.transform.decision import NO_STATE, decide
from pipeline.transform.mapping import map_webhook
from pipeline.transform.policy import Policy
from pipeline.transform.timestamps import iso
from pipeline.transform.verdicts import DeadLettered, Decided, Dropped, Operations
from tests.records import Consumed

CUSTOMER_ID = "cus_0NExampleCustomer0001"
NOW_S = 1_792_000_000


def command(name: str, value: Any, webhook_id: str = "") -> Consumed:
    """A command record."""
    body = value if isinstance(value, bytes) else orjson.dumps(value)
    id_ = (webhook_id or f"{name}_1").encode()
    return Consumed(body, (("dodo-command", name.encode()), ("webhook-id", id_), ("dodo-mode", b"live")))


def backfill(object_: str, sample: str | None, *, emit: bool = False, revive: bool = False, **data: Any) -> Consumed:
    """The command to take in a sample's object, as read from the API."""
    body = orjson.loads(samples.load(sample))["data"] if sample else {}
    value = {
        "command": "backfill",
        "object": object_,
        "data": body | data,
        "customer_id": CUSTOMER_ID,
        "read_at": NOW_S,
    }
    return command("backfill", {**value, "emit_identify": emit, "revive": revive})


def forget(customerio: str | None = None, at: int = NOW_S, webhook_id: str = "forget_1") -> Consumed:
    """The command to forget the customer."""
    value = {"command": "forget", "customer_id": CUSTOMER_ID, "customerio": customerio, "at": at}
    return command("forget", value, webhook_id)


def webhook(sample: str, webhook_id: str, *, at_s: int, **data: Any) -> Consumed:
    """A sample that happened and was delivered at `at_s`."""
    body = orjson.loads(samples.load(sample))
    body["data"].update(data)
    body["timestamp"] = iso(at_s * 1000)
    return Consumed(orjson.dumps(body), (("webhook-id", webhook_id.encode()), ("webhook-timestamp", b"%d" % at_s)))


def told(store: MemoryStore | None, record: Consumed, policy: Policy | None = None) -> Decided:
    """What becomes of a record."""
    return decide(record, policy or Policy(), map_webhook, store).verdict


def sent(verdict: Decided) -> list[dict[str, Any]]:
    """The operations."""
    assert isinstance(verdict, Operations), verdict
    operations = [orjson.loads(operation.body) for operation in verdict.operations]
    assert all(validate(operation) == [] for operation in operations)
    return operations


def known(store: MemoryStore, customer_id: str = CUSTOMER_ID) -> list[str]:
    """Kinds of the customer's facts."""
    return [facts.split(key)[1] for key, _ in store.scan(facts.prefix(customer_id.encode()))]


def test_a_past_is_brought_over_in_silence() -> None:
    """Facts of payments, refunds and subscriptions, and not one operation."""
    store = MemoryStore()
    for record in (
        backfill("payment", "payment.succeeded"),
        backfill("refund", "refund.succeeded--partial"),
        backfill("subscription", "subscription.active"),
        backfill("customer", None, email="a@example.com", name="Ann"),
    ):
        verdict = told(store, record)
        assert isinstance(verdict, Dropped)
        assert verdict.reason == "command"
    assert sorted(known(store)) == ["identity", "payment", "refund", "subscription"]


def test_a_past_counts() -> None:
    """The first webhook after it tells totals with what was before."""
    store = MemoryStore()
    told(store, backfill("payment", "payment.succeeded", payment_id="pay_old", total_amount=1000))
    told(store, backfill("refund", "refund.succeeded", payment_id="pay_old", amount=400, is_partial=True))
    identify, event = sent(told(store, webhook("payment.succeeded", "msg_1", at_s=NOW_S + 60, total_amount=500)))
    assert identify["attributes"]["total_spent_minor"] == 1100
    assert identify["attributes"]["payment_count"] == 2
    assert identify["attributes"]["customer_since"] == "2026-10-14T08:21:31.152232Z"
    assert event["name"] == "payment_completed"


def test_what_was_brought_over_was_not_told() -> None:
    """A webhook of a payment that the backfill had first still sends its event, once, and counts once."""
    store = MemoryStore()
    told(store, backfill("payment", "payment.succeeded"))
    identify, event = sent(told(store, webhook("payment.succeeded", "msg_1", at_s=NOW_S - 60)))
    assert identify["attributes"]["total_spent_minor"] == 4665
    assert event["name"] == "payment_completed"
    told(store, backfill("payment", "payment.succeeded"))
    assert sent(told(store, webhook("payment.succeeded", "msg_1", at_s=NOW_S - 60))) == []


def test_a_repeated_backfill_writes_nothing() -> None:
    """An interrupted run may begin again."""
    store = MemoryStore()
    records = [backfill("payment", "payment.succeeded"), backfill("subscription", "subscription.active")]
    for record in records:
        told(store, record)
    before = len(store.changelog)
    for record in records:
        told(store, record)
    assert len(store.changelog) == before


def test_a_profile_is_sent_when_asked_for() -> None:
    """One identify at the time of the reading, a barrier if it is the first, none when nothing changed."""
    store = MemoryStore()
    told(store, backfill("payment", "payment.succeeded"))
    told(store, backfill("subscription", "subscription.active"))
    verdict = told(store, backfill("customer", None, emit=True, customer_id=CUSTOMER_ID))
    (identify,) = sent(verdict)
    assert isinstance(verdict, Operations)
    assert verdict.operations[0].barrier
    assert verdict.person_key == CUSTOMER_ID.encode()
    assert identify["timestamp"] == NOW_S
    attributes = identify["attributes"]
    assert attributes["email"] == "jiwoo.han@example.com"
    assert attributes["total_spent"] == "46.65"
    assert attributes["subscription_status"] == "active"
    again = told(store, backfill("customer", None, emit=True, customer_id=CUSTOMER_ID))
    assert sent(again) == []


def test_nothing_known_is_no_profile() -> None:
    """An identify needs something to tell."""
    verdict = told(MemoryStore(), backfill("customer", None, emit=True))
    assert isinstance(verdict, Dropped)


SCHEDULED = "subscription_cancellation_scheduled"
READING_S = READING_MS // 1000


def flagged(webhook_id: str, after_s: int, *, scheduled: bool = True) -> Consumed:
    """An update that happened so long after the time of the reading, with the flag."""
    return webhook("subscription.updated", webhook_id, at_s=NOW_S + after_s, cancel_at_next_billing_date=scheduled)


def events(store: MemoryStore, *records: Consumed) -> list[str]:
    """Names of the events that come of the records, one after the other."""
    verdicts = [told(store, record) for record in records]
    operations = [operation for verdict in verdicts if isinstance(verdict, Operations) for operation in sent(verdict)]
    return [operation["name"] for operation in operations if "name" in operation]


def test_a_scheduled_cancellation_of_before_is_not_announced() -> None:
    """Any later update of that subscription shows the flag again; its withdrawal is news."""
    store = MemoryStore()
    assert events(store, backfill("subscription", "subscription.updated"), flagged("msg_1", READING_S + 1)) == []
    assert events(store, flagged("msg_2", READING_S + 60, scheduled=False)) == ["subscription_cancellation_withdrawn"]


@pytest.mark.parametrize("after_s", [-86_400, -1, 0, 1, 33, READING_S])
def test_a_cancellation_is_announced_whose_flag_a_backfill_read_first(after_s: int) -> None:
    """A page is read later than its time says: it may show what the webhook that comes next is about."""
    store = MemoryStore()
    before = webhook("subscription.active", "msg_0", at_s=NOW_S - 99_000, cancel_at_next_billing_date=False)
    assert events(store, before, backfill("subscription", "subscription.updated")) == ["subscription_started"]
    assert events(store, flagged("msg_1", after_s)) == [SCHEDULED]
    assert events(store, flagged("msg_1", after_s), flagged("msg_2", after_s + 60)) == []
    assert events(store, flagged("msg_3", READING_S + 1)) == []


def test_a_cancellation_that_a_webhook_told_before_is_not_announced_again() -> None:
    """Where its webhook came before the backfill, every other update is silent, however soon."""
    store = MemoryStore()
    assert events(store, flagged("msg_1", -60), backfill("subscription", "subscription.updated")) == [SCHEDULED]
    assert events(store, flagged("msg_2", 30), flagged("msg_3", READING_S + 1)) == []


def test_a_withdrawal_right_after_a_backfill_is_told() -> None:
    """What was scheduled before the first webhook is withdrawn within the hour; scheduled again it is news."""
    store = MemoryStore()
    told(store, backfill("subscription", "subscription.updated"))
    assert events(store, flagged("msg_1", 120, scheduled=False)) == ["subscription_cancellation_withdrawn"]
    assert events(store, flagged("msg_2", 2 * READING_S)) == [SCHEDULED]


@pytest.mark.parametrize("after_s", [-60, 33])
def test_a_cancellation_is_announced_once_in_every_order(after_s: int) -> None:
    """A backfill, the webhook of the cancellation and two later updates, each of them twice.

    An update of hours later comes behind the backfill's command: both lie in one partition.
    """
    records = {
        "backfill": backfill("subscription", "subscription.updated"),
        "scheduled": flagged("msg_1", after_s),
        "soon": flagged("msg_2", 60),
        "late": flagged("msg_3", 2 * READING_S),
    }
    for order in permutations(records):
        if order.index("backfill") < order.index("late"):
            assert events(MemoryStore(), *(records[name] for name in (*order, *order))) == [SCHEDULED], order


def test_a_customer_is_forgotten() -> None:
    """Nothing of the customer is left but the moment; the neighbours stay."""
    store = MemoryStore()
    neighbour = {"customer_id": CUSTOMER_ID + "2", "email": "b@example.com"}
    for number, sample in enumerate(("payment.succeeded", "subscription.updated", "dispute.lost", "refund.succeeded")):
        told(store, webhook(sample, f"msg_{number}", at_s=NOW_S - 100))
    told(store, webhook("payment.succeeded", "msg_n", at_s=NOW_S - 100, customer=neighbour))
    verdict = told(store, forget())
    assert isinstance(verdict, Dropped)
    assert known(store) == ["forgotten", "request"]
    assert sorted(known(store, neighbour["customer_id"])) == ["identity", "payment"]
    left = b"".join(value for _, value in store.scan(facts.prefix(CUSTOMER_ID.encode())))
    assert b"jiwoo" not in left + (store.derived(CUSTOMER_ID.encode()) or b"")


@pytest.mark.parametrize("action", ["delete", "suppress"])
def test_the_person_goes_too_when_asked_for(action: str) -> None:
    """Whom the state knew the customer as, and the id that stands in for them, each under its key, ending its batch."""
    store, policy = MemoryStore(), Policy(person_id_chain=("email",))
    told(store, webhook("payment.succeeded", "msg_1", at_s=NOW_S - 100), policy)
    verdict = told(store, forget(action), policy)
    assert sent(verdict) == [
        {"type": "person", "identifiers": {"email": "jiwoo.han@example.com"}, "action": action},
        {"type": "person", "identifiers": {"id": CUSTOMER_ID}, "action": action},
    ]
    assert isinstance(verdict, Operations)
    assert verdict.person_key == b"jiwoo.han@example.com"
    assert [(o.kind, o.barrier, o.key) for o in verdict.operations] == [
        (action, True, None),
        (action, True, CUSTOMER_ID.encode()),
    ]
    assert len({operation.op_id for operation in verdict.operations}) == 2


def test_who_goes_by_the_customers_id_is_removed_once() -> None:
    """Nobody else can have stood in."""
    store = MemoryStore()
    told(store, webhook("payment.succeeded", "msg_1", at_s=NOW_S - 100))
    [operation] = sent(told(store, forget("delete")))
    assert operation["identifiers"] == {"id": CUSTOMER_ID}


@pytest.mark.parametrize("merges", [False, True])
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_nobody_is_left_of_the_customer(order: tuple[int, int], merges: bool) -> None:
    """What a body with the id alone told of goes as well, whichever came first: the workspace is empty of them."""
    policy = Policy(person_id_chain=("metadata.user",), merge_default_id=merges)
    store, workspace = MemoryStore(), Workspace(SandboxConfig())
    licence = webhook("license_key.created", "msg_0", at_s=NOW_S - 100, customer_id=CUSTOMER_ID)
    payment = webhook("payment.succeeded", "msg_1", at_s=NOW_S - 100, **OF_USER)
    neighbour = {"customer_id": "cus_n", "email": "n@example.com", "name": "N", "metadata": {"user": "u_8"}}
    beside = webhook("payment.succeeded", "msg_2", at_s=NOW_S - 100, payment_id="pay_n", customer=neighbour)
    for record in [beside, *([licence, payment][place] for place in order), forget("delete")]:
        verdict = told(store, record, policy)
        assert isinstance(verdict, Operations)
        for index, operation in enumerate(verdict.operations):
            workspace.apply(orjson.loads(operation.body), Arrival(NOW_S * 1000, 0), index)
    assert [person.id for person in workspace.people] == ["u_8"]


def test_what_happened_before_stays_forgotten() -> None:
    """Late retries, replays and backfills do not bring a forgotten customer back; what happens afterwards does."""
    store = MemoryStore()
    told(store, webhook("payment.succeeded", "msg_1", at_s=NOW_S - 100))
    told(store, forget())
    for record in (
        webhook("payment.succeeded", "msg_1", at_s=NOW_S - 100),
        webhook("subscription.active", "msg_2", at_s=NOW_S - 1),
        backfill("payment", "payment.succeeded"),
        backfill("customer", None, emit=True),
    ):
        verdict = told(store, record)
        assert isinstance(verdict, Dropped)
        assert verdict.reason == "forgotten"
    assert known(store) == ["forgotten", "request"]
    identify, _ = sent(told(store, webhook("payment.succeeded", "msg_3", at_s=NOW_S + 9, payment_id="pay_2")))
    assert identify["attributes"]["payment_count"] == 1


def test_a_backfill_may_revive() -> None:
    """Asked to, it brings the past back, and the mark goes."""
    store = MemoryStore()
    told(store, forget(at=NOW_S - 1))
    told(store, backfill("payment", "payment.succeeded", revive=True))
    assert sorted(known(store)) == ["identity", "payment"]
    identify, _ = sent(told(store, webhook("payment.succeeded", "msg_1", at_s=NOW_S - 100)))
    assert identify["attributes"]["payment_count"] == 1


@pytest.mark.parametrize("after_s", [0, 30])
def test_what_was_read_before_the_request_revives_nobody(after_s: int) -> None:
    """The page was on its way: who asked to be forgotten since stays so, by the brokers' time of both."""
    store = MemoryStore()
    told(store, webhook("payment.succeeded", "msg_1", at_s=NOW_S - 60))
    told(store, written(forget("delete", NOW_S + after_s), NOW_S + after_s))
    for emit in (False, True):
        read = written(backfill("payment", "payment.succeeded", revive=True, emit=emit), NOW_S + after_s + 10)
        verdict = told(store, read)
        assert isinstance(verdict, Dropped)
        assert verdict.reason == "forgotten"
    assert known(store) == ["forgotten", "request"]


def test_forgetting_again_leaves_what_came_since() -> None:
    """A command that is consumed once more does not take away the customer who came back."""
    store = MemoryStore()
    told(store, forget())
    told(store, webhook("payment.succeeded", "msg_1", at_s=NOW_S + 100))
    assert isinstance(told(store, forget("delete")), Dropped)
    assert "payment" in known(store)
    told(store, forget(at=NOW_S + 200))
    assert known(store) == ["forgotten", "request"]


def test_forgetting_that_was_cut_off_is_finished() -> None:
    """The mark is written last: a crash before it forgets from the start."""
    store = MemoryStore()
    told(store, webhook("subscription.active", "msg_1", at_s=NOW_S - 100))
    written = len(store.changelog)
    told(store, forget())
    for durable in range(written, len(store.changelog) + 1):
        restored = MemoryStore()
        for key, value in store.changelog[:durable]:
            restored.put(key, value)
        told(restored, forget())
        assert known(restored) == ["forgotten", "request"]


def test_who_the_customer_is_goes_first() -> None:
    """A crash behind that leaves nothing that names the person."""
    store = MemoryStore()
    told(store, webhook("subscription.active", "msg_1", at_s=NOW_S - 100))
    told(store, forget())
    gone = [key for key, value in store.changelog if value is None]
    assert len(gone) > 1
    assert gone[0] == facts.identity_key(CUSTOMER_ID.encode())


NAMED = Policy(person_id_chain=("metadata.user", "email"))
BY_ADDRESS = Policy(person_id_chain=("email",))
OF_USER = {"customer": {"customer_id": CUSTOMER_ID, "email": "a@example.com", "name": "A", "metadata": {"user": "u_7"}}}


def test_two_requests_of_one_second() -> None:
    """First delete, then suppress: both go out, each once, whatever the clock's second."""
    store = MemoryStore()
    told(store, webhook("payment.succeeded", "msg_1", at_s=NOW_S - 100))
    first, second = forget("delete", webhook_id="forget_1"), forget("suppress", webhook_id="forget_2")
    assert [sent(told(store, record))[0]["action"] for record in (first, second)] == ["delete", "suppress"]
    for record in (first, second):
        verdict = told(store, record)
        assert isinstance(verdict, Dropped)
        assert verdict.reason == "command"


@pytest.mark.parametrize("customerio", [None, "delete"])
def test_a_second_request_names_the_person(customerio: str | None) -> None:
    """When the facts are gone that knew the person's id, the mark still does."""
    store = MemoryStore()
    told(store, webhook("payment.succeeded", "msg_1", at_s=NOW_S - 100, **OF_USER), NAMED)
    told(store, forget(customerio), NAMED)
    operations = sent(told(store, forget("suppress", at=NOW_S + 5), NAMED))
    assert operations == [
        {"type": "person", "identifiers": {"id": id_}, "action": "suppress"} for id_ in ("u_7", CUSTOMER_ID)
    ]


def test_a_third_request_names_who_they_were_last() -> None:
    """Somebody who came back as another person, and was forgotten again."""
    store = MemoryStore()
    for number, user in enumerate(("u_9", "u_7")):
        at_s = NOW_S + 100 * number
        customer = OF_USER["customer"] | {"metadata": {"user": user}}
        told(store, webhook("payment.succeeded", f"msg_{user}", at_s=at_s - 50, customer=customer), NAMED)
        told(store, forget(at=at_s), NAMED)
    operations = sent(told(store, forget("suppress", at=NOW_S + 200), NAMED))
    assert [operation["identifiers"]["id"] for operation in operations] == ["u_7", CUSTOMER_ID]


def test_an_address_is_remembered_once() -> None:
    """In lower case, as it went to Customer.io, and not as the customer writes it besides."""
    store = MemoryStore()
    customer = {"customer_id": CUSTOMER_ID, "email": "Ann@Example.com", "name": "Ann"}
    told(store, webhook("payment.succeeded", "msg_1", at_s=NOW_S - 100, customer=customer), BY_ADDRESS)
    told(store, forget(), BY_ADDRESS)
    request = facts.decode("request", store.get(facts.key(CUSTOMER_ID.encode(), "request", "")))
    assert request is not None
    assert [person[DIGEST] for person in request[PEOPLE]] == [digest_of("ann@example.com")]


def written(record: Consumed, at_s: int, *more: tuple[str, bytes]) -> Consumed:
    """The record as the brokers wrote it at that time."""
    return replace(record, timestamp=at_s * 1000, headers=(*record.headers, *more))


def test_a_request_by_a_clock_that_is_ahead() -> None:
    """It is of the moment in which it was written: what happens in the hour after it is a new customer's."""
    store = MemoryStore()
    told(store, webhook("payment.succeeded", "msg_1", at_s=NOW_S - 60))
    told(store, written(forget(at=NOW_S + 3600), NOW_S))
    late, since = (webhook("payment.succeeded", f"msg_{s}", at_s=NOW_S + s, payment_id="pay_new") for s in (-5, 5))
    assert isinstance(told(store, late), Dropped)
    assert [operation.kind for operation in told(store, since).operations] == ["identify", "event"]  # type: ignore[union-attr]


def at_ms(record: Consumed, ms: int) -> Consumed:
    """The webhook with an event of that moment."""
    body = orjson.loads(record.value or b"")
    return replace(record, value=orjson.dumps(body | {"timestamp": iso(ms)}))


@pytest.mark.parametrize("after_ms", [-400, 300, 1_200])
def test_what_may_have_happened_before_the_request(after_ms: int) -> None:
    """The mark has whole seconds, and Dodo's clock is not the brokers': what is so near counts as before it."""
    store, requested_ms = MemoryStore(), NOW_S * 1000 + 700
    told(store, webhook("payment.succeeded", "msg_1", at_s=NOW_S - 60))
    told(store, replace(forget("delete"), timestamp=requested_ms))
    late = at_ms(webhook("payment.succeeded", "msg_2", at_s=NOW_S + 6, payment_id="pay_2"), requested_ms + after_ms)
    verdict = told(store, late)
    assert isinstance(verdict, Dropped)
    assert verdict.reason == "forgotten"
    assert known(store) == ["forgotten", "request"]


@pytest.mark.parametrize("after_ms", [-400, 1_200])
def test_a_webhook_and_its_request_are_read_again(after_ms: int) -> None:
    """A crash behind the facts: the webhook is no new customer's, and nothing of it stays."""
    store, requested_ms = MemoryStore(), NOW_S * 1000 + 700
    earlier = at_ms(webhook("payment.succeeded", "msg_1", at_s=NOW_S), requested_ms + after_ms)
    request = replace(forget("delete"), timestamp=requested_ms)
    for record in (earlier, request, earlier, request):
        told(store, record)
    assert known(store) == ["forgotten", "request"]


def test_a_later_request_by_a_clock_that_is_behind() -> None:
    """It is carried out, once, and what came since is not meant when it is read again, or the one before it is."""
    store = MemoryStore()
    requests = [
        written(forget("delete", NOW_S), NOW_S + 1),
        written(forget("suppress", NOW_S - 120, "forget_2"), NOW_S + 60),
    ]
    assert [sent(told(store, one))[0]["action"] for one in requests] == ["delete", "suppress"]
    told(store, webhook("payment.succeeded", "msg_1", at_s=NOW_S + 90))
    since = known(store)
    assert "payment" in since
    for one in (*requests, written(requests[0], NOW_S + 500, ("dlq-replays", b"1"))):
        assert isinstance(told(store, one), Dropped)
        assert known(store) == since


def test_a_past_read_by_a_clock_that_is_ahead() -> None:
    """What the API showed then does not win over a webhook that comes after it."""
    store = MemoryStore()
    command_ = backfill("customer", None, email="then@example.com", name="Ann")
    told(store, written(command_, NOW_S - 3600))
    identify, _ = sent(told(store, webhook("payment.succeeded", "msg_1", at_s=NOW_S - 1800)))
    assert identify["attributes"]["email"] != "then@example.com"
    assert identify["timestamp"] == NOW_S - 1800


def cut_off(durable: int) -> MemoryStore:
    """The state after a crash that left so many facts of a request to forget the person `u_7`."""
    store, restored = MemoryStore(), MemoryStore()
    told(store, webhook("payment.succeeded", "msg_1", at_s=NOW_S - 100, **OF_USER), NAMED)
    written = len(store.changelog)
    told(store, forget("delete"), NAMED)
    for key, value in store.changelog[: written + durable]:
        restored.put(key, value)
    return restored


@pytest.mark.parametrize("durable", [1, 2])
def test_a_request_that_was_cut_off_names_the_person(durable: int) -> None:
    """A crash before the facts go does not make the repeated command name another person."""
    operations = sent(told(cut_off(durable), forget("delete"), NAMED))
    assert [operation["identifiers"]["id"] for operation in operations] == ["u_7", CUSTOMER_ID]


@pytest.mark.parametrize("durable", [3, 4])
def test_a_request_that_was_cut_off_behind_its_mark(durable: int) -> None:
    """What the crash has left goes with the repeated command; what is read again of before it tells nothing."""
    store = cut_off(durable)
    again = told(store, webhook("payment.succeeded", "msg_1", at_s=NOW_S - 100, **OF_USER), NAMED)
    assert isinstance(again, Dropped)
    assert again.reason == "forgotten"
    done = told(store, forget("delete"), NAMED)
    assert isinstance(done, Dropped)
    assert known(store) == ["forgotten", "request", "shared"]
    told(store, webhook("payment.succeeded", "msg_2", at_s=NOW_S + 100, payment_id="pay_new"), NAMED)
    since = known(store)
    told(store, forget("delete"), NAMED)
    assert known(store) == since
    assert "payment" in since


def test_a_return_that_was_cut_off() -> None:
    """Until all of it is durable the customer is forgotten: what is read again of before tells nothing."""
    store = MemoryStore()
    old = webhook("payment.succeeded", "msg_1", at_s=NOW_S - 100)
    told(store, old)
    told(store, forget(at=NOW_S - 1))
    written = len(store.changelog)
    revival = backfill("payment", "payment.succeeded", payment_id="pay_old", revive=True)
    told(store, revival)
    for durable in range(written, len(store.changelog)):
        restored = MemoryStore()
        for key, value in store.changelog[:durable]:
            restored.put(key, value)
        again = told(restored, old)
        assert isinstance(again, Dropped)
        assert again.reason == "forgotten"
        told(restored, revival)
        assert dict(restored.scan(b"")) == dict(store.scan(b""))


def test_a_person_who_went_by_an_address_cannot_be_named_again() -> None:
    """Of an address a digest is kept: the command is a dead letter that says so, and nobody else is deleted."""
    store = MemoryStore()
    told(store, webhook("payment.succeeded", "msg_1", at_s=NOW_S - 100), BY_ADDRESS)
    told(store, forget(), BY_ADDRESS)
    left = dict(store.scan(b""))
    verdict = told(store, forget("delete", at=NOW_S + 5), BY_ADDRESS)
    assert isinstance(verdict, DeadLettered)
    assert "digest" in verdict.reason
    assert "by hand" in verdict.reason
    assert dict(store.scan(b"")) == left
    assert b"jiwoo" not in b"".join(key + value for key, value in left.items())


@pytest.mark.parametrize("policy", [NAMED, BY_ADDRESS, Policy(person_id_chain=("metadata.user", "customer_id"))])
def test_whom_nothing_is_known_of_is_not_guessed(policy: Policy) -> None:
    """Without a fact only a policy that begins with the customer's id can name the person."""
    store = MemoryStore()
    verdict = told(store, forget("delete"), policy)
    assert isinstance(verdict, DeadLettered)
    assert "name" in verdict.reason
    assert store.changelog == []
    [operation] = sent(told(store, forget("delete")))
    assert operation["identifiers"] == {"id": CUSTOMER_ID}


def test_the_stand_in_is_removed() -> None:
    """Who was told of under the customer's id, before the policy's own was known, is deleted under that."""
    store = MemoryStore()
    policy = Policy(person_id_chain=("metadata.user",))
    licence = orjson.loads(samples.load("license_key.created"))
    licence["data"]["customer_id"] = CUSTOMER_ID
    licence["timestamp"] = iso((NOW_S - 100) * 1000)
    headers = (("webhook-id", b"msg_1"), ("webhook-timestamp", b"%d" % (NOW_S - 100)))
    assert sent(told(store, Consumed(orjson.dumps(licence), headers), policy))
    [operation] = sent(told(store, forget("delete"), policy))
    assert operation["identifiers"] == {"id": CUSTOMER_ID}


def test_a_mark_of_an_earlier_version() -> None:
    """It tells no requests apart, so one of its second is taken for the one that was carried out."""
    store = MemoryStore()
    store.put(facts.key(CUSTOMER_ID.encode(), "forgotten", ""), facts.encode([NOW_S]))
    assert isinstance(told(store, forget("delete", webhook_id="forget_2")), Dropped)
    assert sent(told(store, forget("delete", at=NOW_S + 1)))


@pytest.mark.parametrize(
    ("name", "value", "class_"),
    [
        ("later", {}, "unknown-type"),
        ("backfill", b"", "unreadable"),
        ("backfill", b"[]", "unreadable"),
        ("backfill", {}, "unmappable"),
        ("backfill", {"customer_id": "c\0d"}, "unmappable"),
        ("backfill", {"customer_id": "c", "object": "payout"}, "unmappable"),
        ("backfill", {"customer_id": "c", "object": []}, "unmappable"),
        ("backfill", {"customer_id": "c", "object": "payment", "data": []}, "unmappable"),
        ("backfill", {"customer_id": "c", "object": "payment", "data": {}}, "unmappable"),
        ("backfill", {"customer_id": "c", "object": "payment", "data": {}, "read_at": 5}, "unmappable"),
        ("forget", {"customer_id": "c"}, "unmappable"),
        ("forget", {"customer_id": "c", "at": NOW_S, "customerio": "merge"}, "unmappable"),
        ("forget", {"customer_id": "c" * 151, "at": NOW_S, "customerio": "delete"}, "unmappable"),
    ],
)
def test_a_command_that_cannot_be_carried_out(name: str, value: Any, class_: str) -> None:
    """A dead letter with its reason, and nothing done."""
    store = MemoryStore()
    verdict = told(store, command(name, value))
    assert isinstance(verdict, DeadLettered)
    assert verdict.class_ == class_
    assert "bug" not in verdict.reason
    assert store.changelog == []


def test_without_a_state_there_is_nothing_to_command() -> None:
    """The command waits as a dead letter until the state is switched on."""
    assert told(None, forget()) == NO_STATE


def test_who_comes_back_has_not_subscribed_anew() -> None:
    """A plan change activates a subscription again that is older than the request to be forgotten: no welcome."""
    store = MemoryStore()
    began: dict[str, Any] = {
        "created_at": iso((NOW_S - 86_400 * 40) * 1000),
        "previous_billing_date": iso((NOW_S - 86_400 * 9) * 1000),
    }
    told(store, webhook("subscription.active", "msg_1", at_s=NOW_S - 86_400 * 40, **began))
    told(store, forget())
    old = sent(told(store, webhook("subscription.active", "msg_2", at_s=NOW_S + 60, **began)))
    assert [operation["action"] for operation in old] == ["identify"]
    fresh = {"created_at": iso((NOW_S + 90) * 1000), "subscription_id": "sub_new", "previous_billing_date": None}
    _, event = sent(told(store, webhook("subscription.active", "msg_3", at_s=NOW_S + 100, **fresh)))
    assert event["name"] == "subscription_started"


@pytest.mark.parametrize("revive", [False, True])
def test_what_was_read_as_active_does_not_begin_later(revive: bool) -> None:
    """Its first webhook was lost, or the customer was forgotten since: a later activation is no start."""
    store = MemoryStore()
    began: dict[str, Any] = {
        "created_at": iso((NOW_S - 86_400 * 40) * 1000),
        "previous_billing_date": iso((NOW_S - 86_400 * 9) * 1000),
    }
    if revive:
        told(store, webhook("subscription.active", "msg_1", at_s=NOW_S - 86_400 * 40, **began))
        told(store, forget(at=NOW_S - 86_400))
    told(store, backfill("subscription", "subscription.active", revive=revive, **began))
    later = sent(told(store, webhook("subscription.active", "msg_2", at_s=NOW_S + 7200, **began)))
    assert [operation["action"] for operation in later] == ["identify"]


def test_a_first_activation_that_a_reading_overtakes_is_a_start() -> None:
    """The backfill reads the subscription seconds before or after its first webhook comes."""
    for apart_s in (-30, 30):
        store = MemoryStore()
        began: dict[str, Any] = {
            "created_at": iso((NOW_S - 90) * 1000),
            "previous_billing_date": iso((NOW_S - 90) * 1000),
        }
        told(store, backfill("subscription", "subscription.active", **began))
        _, event = sent(told(store, webhook("subscription.active", "msg_1", at_s=NOW_S + apart_s, **began)))
        assert event["name"] == "subscription_started"
