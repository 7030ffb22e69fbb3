"""A shaper changes what a webhook tells, and nothing of what keeps it from being lost, doubled or told of another."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import orjson
import pytest

from pipeline.dodo import samples
from pipeline.statestore.store import MemoryStore
from pipeline.transform.decision import decide
from pipeline.transform.mapping import map_body, map_webhook
from pipeline.transform.policy import Policy
from pipeline.transform.records import operation_records
from pipeline.transform.shaping.types import Event, Identify, Known, Shaped, ShapingError, Webhook
from pipeline.transform.timestamps import iso
from pipeline.transform.verdicts import DeadLettered, Decided, Delivery, Dropped, Operations
from tests.records import Consumed
from tests.transform.customers.test_commands import backfill

NOW_S = 1_792_000_000

Shape = Callable[[Webhook, Shaped, Callable[[], Known]], Shaped]


@dataclass
class Shaper:
    """A shaper that is one function."""

    function: Shape
    claims: frozenset[str] = frozenset()
    version: str = "v1"
    is_checked: bool = False

    def shape(self, webhook: Webhook, default: Shaped, know: Callable[[], Known]) -> Shaped:
        """What the function says."""
        return self.function(webhook, default, know)


def policy(function: Any, **changes: Any) -> Policy:
    """A policy with a shaper."""
    return Policy(shaper=Shaper(function, **changes))


def webhook(sample: str, webhook_id: str = "msg_1", *, late_s: int = 0, at_s: int = NOW_S, **data: Any) -> Consumed:
    """A sample that happened at `at_s` and was delivered `late_s` later, some fields changed."""
    body = orjson.loads(samples.load(sample))
    body["data"].update(data)
    body["timestamp"] = iso(at_s * 1000)
    headers = (("webhook-id", webhook_id.encode()), ("webhook-timestamp", b"%d" % (at_s + late_s)))
    return Consumed(orjson.dumps(body), headers)


def told(store: MemoryStore | None, record: Consumed, function: Any = None, **changes: Any) -> Decided:
    """What becomes of a record; without a function by the default mapping."""
    chosen = Policy() if function is None else policy(function, **changes)
    return decide(record, chosen, map_webhook, store).verdict


def sent(verdict: Decided) -> list[dict[str, Any]]:
    """The operations that go out."""
    if isinstance(verdict, Dropped) and verdict.reason == "no-change":
        return []
    assert isinstance(verdict, Operations), verdict
    return [orjson.loads(operation.body) for operation in verdict.operations]


def events(verdict: Decided) -> list[tuple[str, str]]:
    """Names and ids of the events that go out."""
    return [(operation["name"], operation["id"]) for operation in sent(verdict) if operation["action"] == "event"]


def as_it_is(_webhook: Webhook, default: Shaped, _know: Any) -> Shaped:
    """Change nothing."""
    return default


def renamed(_webhook: Webhook, default: Shaped, _know: Any) -> Shaped:
    """Every event under another name."""
    return default._replace(events=tuple(event.renamed(f"Our {event.name}") for event in default.events))


def without_events(_webhook: Webhook, default: Shaped, _know: Any) -> Shaped:
    """No event."""
    return default._replace(events=())


def with_vip(_webhook: Webhook, default: Shaped, _know: Any) -> Shaped:
    """One more event."""
    return default._replace(events=(*default.events, Event("vip_reached", {"tier": "gold"})))


@pytest.mark.parametrize("name", [name for name in samples.names() if "--" not in name])
@pytest.mark.parametrize("with_state", [False, True])
def test_a_shaper_that_changes_nothing_changes_nothing(name: str, with_state: bool) -> None:
    """Its operations are those of no shaper, byte for byte, and so is what the state learns."""
    store, other = (MemoryStore(), MemoryStore()) if with_state else (None, None)
    shaped, default = told(store, webhook(name), as_it_is), told(other, webhook(name))
    if isinstance(shaped, Operations):
        assert shaped.shaped == "v1"
        shaped = replace(shaped, shaped=None)
    assert shaped == default
    if store is not None and other is not None:
        assert store.changelog == other.changelog


def test_a_renamed_event_keeps_the_id_of_its_fact() -> None:
    """Also when it is made anew under the canonical name, or drawn out of the default by hand."""

    def anew(_webhook: Webhook, _default: Shaped, _know: Any) -> Shaped:
        return Shaped(None, (Event("payment_completed", {"a": 1}),))

    ((name, op_id),) = events(told(None, webhook("payment.succeeded")))
    assert events(told(None, webhook("payment.succeeded"), renamed)) == [(f"Our {name}", op_id)]
    assert events(told(None, webhook("payment.succeeded"), anew)) == [(name, op_id)]


@pytest.mark.parametrize("name", ["payment.succeeded", "payment.failed", "license_key.created", "subscription.active"])
def test_a_fact_told_under_one_name_is_never_told_under_another(name: str) -> None:
    """The names change between two deliveries: the second says nothing."""
    store = MemoryStore()
    assert len(events(told(store, webhook(name)))) == 1
    assert events(told(store, webhook(name, late_s=60), renamed)) == []
    assert events(told(store, webhook(name, late_s=90), with_vip)) == [], "nor anything beside it"


def test_two_events_of_one_fact_have_two_ids() -> None:
    """A copy is an additional event; ids are the same each time, and move with nothing but the origin."""

    def twice(_webhook: Webhook, default: Shaped, _know: Any) -> Shaped:
        (event,) = default.events
        return default._replace(events=(event, event.renamed("Copy"), Event("x"), Event("x"), Event("y", origin="x")))

    (first, *others) = events(told(None, webhook("payment.failed"), twice))
    assert [first] == events(told(None, webhook("payment.failed")))
    assert len({op_id for _, op_id in (first, *others)}) == 5
    assert events(told(None, webhook("payment.failed", at_s=NOW_S), twice)) == [first, *others]


@pytest.mark.parametrize("name", ["payment.succeeded", "payment.failed", "license_key.created", "subscription.renewed"])
def test_additional_events_are_told_once(name: str) -> None:
    """A retry of the webhook does not repeat them, whether or not the default's event is dropped."""

    def only_vip(webhook: Webhook, default: Shaped, know: Any) -> Shaped:
        return with_vip(webhook, default._replace(events=()), know)

    for function in (with_vip, only_vip):
        store = MemoryStore()
        assert "vip_reached" in dict(events(told(store, webhook(name), function)))
        assert events(told(store, webhook(name, late_s=60), function)) == []


def test_additional_events_of_another_reading_of_the_webhook_are_told_once() -> None:
    """A retry's body leads to another row, and so beside another fact: the webhook has spoken."""
    store = MemoryStore()
    first = webhook("dispute.opened", dispute_stage="pre_dispute")
    assert "vip_reached" in dict(events(told(store, first, with_vip)))
    again = webhook("dispute.opened", dispute_stage="dispute")
    assert events(told(store, again, with_vip)) == []


def test_what_is_dropped_counts_all_the_same() -> None:
    """The payment's sums are in the next identify, and its own verdict is no operation and no dead letter."""

    def silent(_webhook: Webhook, _default: Shaped, _know: Any) -> Shaped:
        return Shaped(None)

    store = MemoryStore()
    verdict = told(store, webhook("payment.succeeded"), silent)
    assert sent(verdict) == []
    assert isinstance(verdict, Operations)
    assert set(verdict.notes) >= {"shaped-away"}
    later = sent(told(store, webhook("payment.succeeded", "msg_2", at_s=NOW_S + 9, payment_id="pay_2"), as_it_is))
    assert later[0]["attributes"]["payment_count"] == 2


def test_a_changed_shaping_of_the_profile_is_told() -> None:
    """An attribute that a new version adds goes out with the next webhook, though nothing else has changed; once."""

    def tagged(_webhook: Webhook, default: Shaped, _know: Any) -> Shaped:
        assert default.identify is not None
        return default._replace(identify=default.identify.having(plan="gold"))

    store = MemoryStore()
    told(store, webhook("payment.failed"))
    assert [one["action"] for one in sent(told(store, webhook("payment.failed", late_s=5)))] == []
    (identify,) = sent(told(store, webhook("payment.failed", late_s=9), tagged))
    assert identify["attributes"]["plan"] == "gold"
    assert sent(told(store, webhook("payment.failed", late_s=12), tagged)) == []


def test_person_time_and_barrier_are_the_pipelines() -> None:
    """Whatever attributes say."""

    def meddling(_webhook: Webhook, default: Shaped, _know: Any) -> Shaped:
        attributes = {"identifiers": {"id": "x"}, "timestamp": 1, "action": "delete", "id": "y"}
        return Shaped(Identify(attributes), tuple(Event("e", attributes, event.origin) for event in default.events))

    store, other = MemoryStore(), MemoryStore()
    shaped, default = told(store, webhook("payment.succeeded"), meddling), told(other, webhook("payment.succeeded"))
    assert isinstance(shaped, Operations)
    assert isinstance(default, Operations)
    for ours, theirs in zip(sent(default), sent(shaped), strict=True):
        for member in ("identifiers", "timestamp", "action", "id"):
            assert theirs.get(member) == ours.get(member)
        assert "id" not in theirs["attributes"]
    assert [one.barrier for one in shaped.operations] == [one.barrier for one in default.operations] == [True, False]
    assert shaped.person_key == default.person_key


def raising(error: BaseException) -> Shape:
    """A function that fails."""

    def fails(_webhook: Webhook, _default: Shaped, _know: Any) -> Shaped:
        raise error

    return fails


CYCLE: dict[str, Any] = {}
CYCLE["self"] = [CYCLE, CYCLE]


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (raising(ShapingError("rules.yaml:3:7: no such attribute", place="rules.yaml:3")), r"rules\.yaml:3:7"),
        (raising(ValueError("jiwoo.han@example.com")), r"ValueError at test_shaped\.py:\d+"),
        (raising(SystemExit(1)), r"SystemExit"),
        (raising(RecursionError()), r"RecursionError"),
        (lambda *_: None, r"returned nothing \(None\)"),
        (lambda *_: Shaped(None, [Event("x")]), r"events are a list"),  # type: ignore[arg-type]
        (lambda *_: Shaped({"a": 1}), r"identify is a dict"),  # type: ignore[arg-type]
        (lambda *_: Shaped(None, (Event(""),)), r"name is empty"),
        (lambda *_: Shaped(None, (Event("n" * 101),)), r"over 100 bytes"),
        (lambda *_: Shaped(None, (Event("x", {"a": float("nan")}),)), r"attribute a .*\(NaN"),
        (lambda *_: Shaped(None, (Event("x", {"a": [{"b": float("inf")}]}),)), r"attribute a .*\(NaN"),
        (lambda *_: Shaped(None, (Event("x", {"a": CYCLE}),)), r"attribute a .* contains itself"),
        (lambda *_: Shaped(None, (Event("x", {"a": object()}),)), r"attribute a .* is a object"),
        (lambda *_: Shaped(None, (Event("x", {1: 2}),)), r"a name among .* is a int"),  # type: ignore[dict-item]
        (lambda *_: Shaped(None, (Event("x", {"a": "y" * 10_000_000}),)), r"10,000,008 bytes"),
        (lambda *_: Shaped(None, (Event("x"),) * 21), r"21 events"),
    ],
)
def test_what_cannot_be_shaped_is_a_dead_letter_that_a_replay_delivers_once(function: Any, reason: str) -> None:
    """Nothing of it is sent or remembered, and nothing of the body is quoted; mended, all of it goes out."""
    store = MemoryStore()
    verdict = told(store, webhook("payment.succeeded"), function)
    assert isinstance(verdict, DeadLettered)
    assert verdict.class_ == "transform-failed"
    assert re.search(reason, verdict.reason), verdict.reason
    assert "example.com" not in verdict.reason
    assert store.changelog == []
    assert [one["action"] for one in sent(told(store, webhook("payment.succeeded"), renamed))] == ["identify", "event"]
    assert events(told(store, webhook("payment.succeeded", late_s=4), renamed)) == []


def test_where_a_shaper_failed_is_the_letters_field() -> None:
    """`dlq-field` says file and line."""
    verdict = told(None, webhook("payment.failed"), raising(ShapingError("no", place="rules.yaml:3")))
    assert isinstance(verdict, DeadLettered)
    assert verdict.field == "rules.yaml:3"


def test_a_claimed_type_is_mapped_though_the_table_does_not_know_it() -> None:
    """And one that it drops; an unclaimed one stays a dead letter."""

    def spoken(webhook: Webhook, default: Shaped, _know: Any) -> Shaped:
        return default._replace(events=(Event(webhook.type.replace(".", "_")),))

    body = orjson.dumps({**orjson.loads(samples.load("payment.succeeded")), "type": "checkout.opened"})
    assert isinstance(map_body(body, Delivery("msg_1"), policy(spoken)), DeadLettered)
    verdict = map_body(body, Delivery("msg_1"), policy(spoken, claims=frozenset({"checkout.opened"})))
    assert [one.get("name") for one in sent(verdict)] == [None, "checkout_opened"]
    dropped = told(None, webhook("credit.deducted"), spoken, claims=frozenset({"credit.deducted"}))
    assert [name for name, _ in events(dropped)] == ["credit_deducted"]


def test_what_is_known_is_told_with_this_webhook() -> None:
    """Totals and the subscription that speaks; empty without a state."""
    seen: list[Known] = []

    def asking(_webhook: Webhook, default: Shaped, know: Callable[[], Known]) -> Shaped:
        seen.append(know())
        return default

    store = MemoryStore()
    told(store, webhook("subscription.active"), asking)
    told(store, webhook("payment.succeeded", "msg_2"), asking)
    told(None, webhook("payment.succeeded", "msg_3"), asking)
    assert seen[0].subscription is not None
    assert (seen[0].subscription.status, seen[0].active_subscriptions, seen[0].spent_minor) == ("active", 1, {})
    body = orjson.loads(samples.load("payment.succeeded"))["data"]
    assert seen[1].spent_minor == {body["currency"]: body["total_amount"]}
    assert seen[2] == Known()


def test_the_version_is_a_header_of_each_operation() -> None:
    """`rules`; no header where nothing shapes."""
    record = webhook("payment.succeeded")
    for chosen, expected in ((policy(as_it_is), b"v1"), (Policy(), None)):
        decision = decide(record, chosen, map_webhook)
        assert isinstance(decision.verdict, Operations)
        for out in operation_records(record, decision, decision.verdict):
            assert dict(out.headers).get("rules") == expected


def test_the_title_style_is_what_a_shaper_sees() -> None:
    """The name as it goes out; its origin is canonical."""
    seen: list[Event] = []

    def looking(_webhook: Webhook, default: Shaped, _know: Any) -> Shaped:
        seen.extend(default.events)
        return default

    chosen = replace(policy(looking), title_names=True)
    verdict = decide(webhook("payment.succeeded"), chosen, map_webhook).verdict
    assert [(event.name, event.origin) for event in seen] == [("Payment Completed", "payment_completed")]
    assert [name for name, _ in events(verdict)] == ["Payment Completed"]


def test_what_no_webhook_brings_is_shaped_as_well() -> None:
    """A backfill's identify has no name where names are left out, and no event is made of it."""

    def nameless(webhook: Webhook, default: Shaped, _know: Any) -> Shaped:
        assert webhook.type == "backfill"
        assert default.identify is not None
        return Shaped(default.identify.without("name"), (Event("again"),))

    store = MemoryStore()
    order = backfill("payment", "payment.succeeded", emit=True)
    failed = told(store, order, raising(ShapingError("no")))
    assert isinstance(failed, DeadLettered)
    assert failed.class_ == "transform-failed"
    assert store.changelog == []
    (identify,) = sent(told(store, order, nameless))
    assert identify["attributes"]["total_spent_minor"] > 0
    assert "name" not in identify["attributes"]


def test_the_person_of_several_customers_is_shaped_as_well() -> None:
    """Their sums come with a share, whose identify has no name either."""

    def nameless(_webhook: Webhook, default: Shaped, _know: Any) -> Shaped:
        return default._replace(identify=default.identify.without("name")) if default.identify is not None else default

    store, types = MemoryStore(), set()

    def listening(webhook: Webhook, default: Shaped, know: Any) -> Shaped:
        types.add(webhook.type)
        return nameless(webhook, default, know)

    chosen = replace(policy(listening), person_id_chain=("email", "customer_id"))
    decision = decide(webhook("payment.succeeded"), chosen, map_webhook, store)
    shares = [Consumed(command.value, command.headers) for command in decision.commands]
    verdicts = [decision.verdict, *(decide(share, chosen, map_webhook, store).verdict for share in shares)]
    identifies = [one for verdict in verdicts for one in sent(verdict) if one["action"] == "identify"]
    assert types == {"payment.succeeded", "share"}
    assert any("total_spent" in one["attributes"] for one in identifies)
    assert not any("name" in one["attributes"] for one in identifies)
