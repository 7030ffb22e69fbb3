"""Recipes shape what is sent; what keeps it from being lost, doubled or told of another stays the pipeline's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from pipeline.dodo import samples
from pipeline.errors import SettingsError
from pipeline.settings import Settings
from pipeline.statestore.store import MemoryStore
from pipeline.transform.decision import decide
from pipeline.transform.javascript.recipes import Recipe, load_recipes
from pipeline.transform.javascript.shaper import JavaScript
from pipeline.transform.mapping import map_body, map_webhook
from pipeline.transform.policy import Policy
from pipeline.transform.verdicts import DeadLettered, Decided, Delivery, Operations
from tests.records import Consumed

RECIPES = Path(__file__).parents[2] / "data" / "recipes"
ID = ("customer_id",)

PAID = """function handler(webhook) {
  const data = webhook.payload.data;
  return {identifiers: {id: data.customer.customer_id}, action: "event", name: "Paid"};
}"""


def policy(text: str | None = None, name: str = "a.js", chain: tuple[str, ...] = ID, **changes: Any) -> Policy:
    """A policy with this recipe; without one, with the vendor's three."""
    recipes = load_recipes(RECIPES) if text is None else (Recipe(name, text, changes.pop("types", None)),)
    return Policy(person_id_chain=chain, shaper=JavaScript(recipes, chain), **changes)


def record(sample: str, webhook_id: str = "msg_1", **data: Any) -> Consumed:
    """A delivery of a sample, some fields changed."""
    body = orjson.loads(samples.load(sample))
    body["data"].update(data)
    return Consumed(orjson.dumps(body), (("webhook-id", webhook_id.encode()),))


def told(record: Consumed, chosen: Policy, store: MemoryStore | None = None) -> Decided:
    """What becomes of it."""
    return decide(record, chosen, map_webhook, store).verdict


def sent(verdict: Decided) -> list[dict[str, Any]]:
    """The operations that go out."""
    assert isinstance(verdict, Operations), verdict
    return [orjson.loads(operation.body) for operation in verdict.operations]


def events(verdict: Decided) -> list[tuple[str, str]]:
    """Names and ids of the events that go out."""
    return [(one["name"], one["id"]) for one in sent(verdict) if one["action"] == "event"]


def test_the_vendors_recipes_become_valid_operations() -> None:
    """One identify and one event of Customer.io's, the amounts as the recipe made them, id and time ours."""
    identify, event = sent(told(record("payment.succeeded"), policy()))
    assert identify["action"] == "identify"
    assert identify["attributes"]["total_spent"] == "46.65"
    assert identify["identifiers"] == event["identifiers"] == {"id": "cus_0NExampleCustomer0001"}
    assert (event["action"], event["name"], event["timestamp"]) == ("event", "Payment Completed", 1_791_966_105)
    assert event["attributes"]["payment_amount"] == "46.65"
    assert "dodo_event_type" not in event["attributes"]


@pytest.mark.parametrize("sample", ["payment.succeeded", "subscription.active", "subscription.cancelled"])
def test_the_event_keeps_the_id_of_its_fact(sample: str) -> None:
    """Whatever the recipe calls it: who changes over sends no event again, nor who changes back."""
    ((_, by_recipe),) = events(told(record(sample), policy()))
    ((_, by_default),) = events(told(record(sample), Policy()))
    assert by_recipe == by_default


def test_a_redelivery_is_no_second_event() -> None:
    """With the state the second delivery is known; without it the event has the same id."""
    store = MemoryStore()
    (first,) = events(told(record("payment.succeeded"), policy(), store))
    assert events(told(record("payment.succeeded"), policy(), store)) == []
    assert events(told(record("payment.succeeded"), policy())) == [first]


def test_another_webhook_about_a_fact_that_is_out_says_nothing() -> None:
    """The payment is one event, by the default mapping before the recipes came and by them after."""
    store = MemoryStore()
    assert events(told(record("payment.succeeded"), Policy(), store))
    assert events(told(record("payment.succeeded", "msg_2"), policy(), store)) == []


def test_further_events_have_ids_of_their_own_that_a_new_name_keeps() -> None:
    """Several operations of one webhook are several events; renaming one in the code makes no other of it."""
    text = """function handler(webhook) {
      const identifiers = {id: webhook.payload.data.customer.customer_id};
      return ["One", "Two", "Three"].map(name => ({identifiers, action: "event", name}));
    }"""
    found = events(told(record("payment.succeeded"), policy(text)))
    renamed = events(told(record("payment.succeeded"), policy(text.replace("Two", "Second"))))
    assert [name for name, _ in found] == ["One", "Two", "Three"]
    assert [name for name, _ in renamed] == ["One", "Second", "Three"]
    assert len({op_id for _, op_id in found}) == 3
    assert [op_id for _, op_id in found] == [op_id for _, op_id in renamed]
    store = MemoryStore()
    assert events(told(record("payment.succeeded"), policy(text), store)) == found
    assert events(told(record("payment.succeeded"), policy(text), store)) == []


@pytest.mark.parametrize("sample", [name for name in samples.names() if not name.startswith(("payment.s", "sub"))])
def test_what_no_recipe_touches_is_the_default_mappings(sample: str) -> None:
    """Byte for byte, also drops and dead letters."""
    ours = map_body(samples.load(sample), Delivery("msg_1"), policy())
    default = map_body(samples.load(sample), Delivery("msg_1"), Policy())
    if isinstance(ours, Operations) and isinstance(default, Operations):
        assert ours.operations == default.operations
    else:
        assert ours == default


@pytest.mark.parametrize("body", ["return null;", "webhook.cancel = true; return webhook;"])
def test_nothing_is_sent_where_the_recipe_wants_nothing(body: str) -> None:
    """Counted as shaped away, said in words, and remembered as if it had been told: no later delivery sends it."""
    store = MemoryStore()
    verdict = told(record("payment.succeeded"), policy(f"function handler(webhook) {{ {body} }}"), store)
    assert sent(verdict) == []
    assert isinstance(verdict, Operations)
    assert "shaped-away" in verdict.notes
    assert any("wants nothing to be sent" in warning for warning in verdict.warnings)


def test_a_record_that_fails_waits_for_the_mended_recipe_and_is_told_once() -> None:
    """A dead letter with file and line, of which nothing is remembered; its replay is the first telling."""
    store = MemoryStore()
    broken = told(record("payment.succeeded"), policy("function handler(webhook) {\n  return nothing;\n}"), store)
    assert broken == DeadLettered(
        "transform-failed", "threw ReferenceError: nothing is not defined", field="a.js:2"
    )  # fmt: skip
    (first,) = events(told(record("payment.succeeded"), policy(PAID), store))
    assert first[0] == "Paid"
    assert events(told(record("payment.succeeded"), policy(PAID), store)) == []


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        ("undefined", "returned nothing"),
        ("Promise.resolve(webhook)", "returned a promise"),
        ("{identifiers: {id: 'cus_other'}, name: 'Paid'}", "is not one of this webhook's customer"),
        ("{identifiers: {id: webhook.payload.data.customer.customer_id}, name: 'x'.repeat(101)}", "over 100 bytes"),
        (
            "{identifiers: {id: webhook.payload.data.customer.customer_id}, name: 'x', attributes: BIG}",
            "32,",
        ),
        (
            "Array(21).fill({identifiers: {id: webhook.payload.data.customer.customer_id}, name: 'x'})",
            "20 is the most",
        ),
    ],
)
def test_what_cannot_be_an_operation_is_a_dead_letter(result: str, reason: str) -> None:
    """With a reason, and nothing half sent."""
    text = f"const BIG = {{a: Array(33).fill('x'.repeat(990))}}; function handler(webhook) {{ return {result}; }}"
    verdict = told(record("payment.succeeded"), policy(text))
    assert isinstance(verdict, DeadLettered)
    assert verdict.class_ == "transform-failed"
    assert reason in verdict.reason


def test_the_person_is_the_policys() -> None:
    """A recipe that names the customer's id addresses them as the policy does, a test-mode webhook a test person."""
    (event,) = sent(told(record("payment.succeeded"), policy(PAID, chain=("email",))))
    assert event["identifiers"] == {"email": "jiwoo.han@example.com"}
    test = Consumed(samples.load("payment.succeeded"), (("webhook-id", b"msg_1"), ("dodo-mode", b"test")))
    (event,) = sent(told(test, policy(PAID, forward_test_mode=True)))
    assert event["identifiers"] == {"id": "test_cus_0NExampleCustomer0001"}


def test_a_file_named_for_a_type_maps_what_the_default_does_not() -> None:
    """One that is dropped by default, and one that Dodo has not announced yet."""
    text = """function handler(webhook) {
      return {identifiers: {id: webhook.payload.data.customer_id}, action: "event", name: "Used"};
    }"""
    asked = frozenset({"credit.deducted"})
    assert [name for name, _ in events(told(record("credit.deducted"), policy(text, types=asked)))] == ["Used"]
    asked = frozenset({"subscription.reactivated"})
    body = orjson.loads(samples.load("unknown.future_event"))
    body["data"]["customer_id"] = "cus_1"
    future = Consumed(orjson.dumps(body), (("webhook-id", b"msg_1"),))
    assert [name for name, _ in events(told(future, policy(text, types=asked)))] == ["Used"]


def test_several_files_speak_of_one_webhook_in_the_order_of_their_names() -> None:
    """Each sees the webhook as it came, whatever the one before did to it."""
    recipes = (
        Recipe("a.js", "function handler(w) { w.payload.data.customer.name = 'changed'; return w; }"),
        Recipe("b.js", PAID.replace('"Paid"', "data.customer.name")),
        Recipe("c.js", "function handler(w) { return null; }"),
    )
    chosen = Policy(shaper=JavaScript(recipes, ID))
    assert [name for name, _ in events(told(record("payment.succeeded"), chosen))] == ["Han Ji-woo"]


def test_a_body_deeper_than_the_writer_goes_in() -> None:
    """Metadata may be nested by whoever feeds the topic."""
    body = orjson.loads(samples.load("payment.succeeded"))
    text = orjson.dumps(body)[:-1] + b',"deep":' + b"[" * 400 + b"1" + b"]" * 400 + b"}"
    assert [name for name, _ in events(told(Consumed(text, (("webhook-id", b"msg_1"),)), policy(PAID)))] == ["Paid"]


def test_the_setting_loads_a_folder_and_says_what_is_wrong(tmp_path: Path) -> None:
    """`PIPELINE_JAVASCRIPT` is a folder or a file; a fault stops the start and names its place."""
    chosen = Policy.of(Settings.load(javascript=RECIPES))
    assert chosen.shaper is not None
    assert events(told(record("payment.succeeded"), chosen))[0][0] == "Payment Completed"
    (tmp_path / "a.js").write_text("function handler(webhook) {\n  retrun webhook\n}", encoding="utf-8")
    with pytest.raises(SettingsError, match=r"^PIPELINE_JAVASCRIPT: a\.js:2 is no JavaScript: "):
        Policy.of(Settings.load(javascript=tmp_path))
    assert Policy.of(Settings.load()).shaper is None


def test_rules_change_what_a_recipe_made(tmp_path: Path) -> None:
    """Recipes first, in the place of the default mapping, then the marketer's rules; the id stays the fact's."""
    rules = tmp_path / "rules.yaml"
    rules.write_text(
        "rules: [{match: {event: payment_completed}, rename: Bought, event: {drop: [currency]}}]\n", encoding="utf-8"
    )
    chosen = Policy.of(Settings.load(javascript=RECIPES, rules=rules))
    verdict = told(record("payment.succeeded"), chosen)
    assert events(verdict) == [("Bought", events(told(record("payment.succeeded"), policy()))[0][1])]
    assert "payment_amount" in sent(verdict)[1]["attributes"]
    assert "currency" not in sent(verdict)[1]["attributes"]
