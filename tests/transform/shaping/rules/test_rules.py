"""A file of rules: what each does to the operations, and what is wrong with it, to the column."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import orjson
import pytest
import yaml

from pipeline.dodo import samples
from pipeline.errors import RulesError
from pipeline.transform.mapping import map_body
from pipeline.transform.policy import Policy
from pipeline.transform.shaping.rules.loading import Loaded, load, load_text
from pipeline.transform.shaping.rules.schema import document
from pipeline.transform.verdicts import DeadLettered, Delivery, Operations, Verdict

FILE = Path("rules.yaml")


def loaded(text: str) -> Loaded:
    """The rules of a text."""
    return load_text(text.encode(), FILE)


def verdict(text: str, sample: str = "payment.succeeded", **data: Any) -> Verdict:
    """What a sample becomes under rules."""
    body = orjson.loads(samples.load(sample))
    body["data"].update(data)
    policy = Policy(shaper=loaded(text).rules)
    return map_body(orjson.dumps(body), Delivery("msg_1"), policy)


def sent(text: str, sample: str = "payment.succeeded", **data: Any) -> list[dict[str, Any]]:
    """Its operations."""
    found = verdict(text, sample, **data)
    assert isinstance(found, Operations), found
    return [orjson.loads(operation.body) for operation in found.operations]


DEFAULT = sent("rules: []")


def test_no_rules_change_nothing() -> None:
    """And what is not concerned stays as it is."""
    assert [one["action"] for one in DEFAULT] == ["identify", "event"]
    assert sent("rules: [{match: {type: payment.failed}, drop: both}]") == DEFAULT


@pytest.mark.parametrize(
    "match", ["{type: payment.succeeded}", "{family: [payment]}", "{event: payment_completed}",
              "{type: [payment.failed, payment.succeeded], event: payment_completed}"],
)  # fmt: skip
def test_an_event_is_renamed_and_keeps_its_id(match: str) -> None:
    """By type, family or event."""
    _, event = sent(f"rules: [{{match: {match}, rename: Order Paid}}]")
    assert event == {**DEFAULT[1], "name": "Order Paid"}


def test_dropping() -> None:
    """The event, the profile update, or both."""
    assert [one["action"] for one in sent("rules: [{drop: event}]")] == ["identify"]
    assert [one["action"] for one in sent("rules: [{drop: profile}]")] == ["event"]
    assert sent("rules: [{drop: both}]") == []


def test_attributes_are_renamed_dropped_and_set_with_all_their_forms() -> None:
    """Money has three forms and a date two, which never part."""
    identify, event = sent(
        """
        rules:
          - match: {event: payment_completed}
            event:
              rename: {payment_amount: amount}
              drop: [tax_amount, "card_*", product_id]
              set:
                channel: web
                tags: [a, b]
                more: {value: {deep: 1}}
                order: {path: data.payment_id}
                absent: {path: data.metadata.nowhere}
                large: {cel: "event.payment_amount_minor > 4000"}
          - profile:
              rename: {last_payment_date: paid_at}
              set: {source: dodo, plan: null}
        """.replace("tax_amount, ", "")
    )
    attributes, before = event["attributes"], DEFAULT[1]["attributes"]
    assert [attributes[f"amount{form}"] for form in ("", "_value", "_minor")] == [
        before[f"payment_amount{form}"] for form in ("", "_value", "_minor")
    ]
    assert not {name for name in attributes if name.startswith(("payment_amount", "card_")) or name == "product_id"}
    assert attributes["order"] == before["payment_id"]
    assert (attributes["channel"], attributes["tags"], attributes["more"]) == ("web", ["a", "b"], {"deep": 1})
    assert attributes["large"] is True
    assert "absent" not in attributes
    profile = identify["attributes"]
    assert profile["paid_at_unix"] == DEFAULT[0]["attributes"]["last_payment_date_unix"]
    assert "last_payment_date" not in profile
    assert profile["source"] == "dodo"
    assert profile["plan"] is None


def test_names_that_are_swapped_keep_their_values() -> None:
    """A rule's renames happen at once, whatever their order; a form that is named goes where its own rename says."""
    before = DEFAULT[1]["attributes"]
    attributes = sent("rules: [{event: {rename: {email: name, name: email}}}]")[1]["attributes"]
    assert attributes == {**before, "email": before["name"], "name": before["email"]}
    chained = sent("rules: [{event: {rename: {name: email, email: address}}}]")[1]["attributes"]
    assert (chained["email"], chained["address"], "name" in chained) == (before["name"], before["email"], False)
    parted = sent("rules: [{event: {rename: {payment_amount: sum, payment_amount_value: number}}}]")[1]["attributes"]
    assert (parted["sum"], parted["sum_minor"]) == (before["payment_amount"], before["payment_amount_minor"])
    assert (parted["number"], "sum_value" in parted) == (before["payment_amount_value"], False)


def test_a_name_may_be_taken_that_an_earlier_rule_has_given_up() -> None:
    """Rules are carried out from the top."""
    for gives_up in ("drop: [email]", "rename: {email: address}"):
        attributes = sent(f"rules: [{{event: {{{gives_up}}}}}, {{event: {{rename: {{name: email}}}}}}]")[1][
            "attributes"
        ]
        assert attributes["email"] == DEFAULT[1]["attributes"]["name"]


@pytest.mark.parametrize("earlier", ["", "- {when: event.currency == 'USD', event: {set: {metadata_order: 1}}}\n"])
def test_a_rename_never_overwrites_what_no_catalogue_lists(earlier: str) -> None:
    """What only the webhook shows is a dead letter with the rename's place, and no lost value."""
    body = orjson.loads(samples.load("payment.succeeded"))
    body["data"]["metadata"] = {"order": "A-1"}
    rules = f"rules:\n{earlier}- {{event: {{rename: {{payment_id: metadata_order}}}}}}"
    policy = Policy(shaper=loaded(rules).rules, metadata=(("order", "metadata_order"),))
    found = map_body(orjson.dumps(body), Delivery("msg_1"), policy)
    assert isinstance(found, DeadLettered)
    assert found.class_ == "transform-failed"
    assert "'metadata_order'" in found.reason
    assert found.field is not None
    assert found.field.startswith("rules.yaml:")


def test_conditions_decide_and_expressions_see_the_default_alone() -> None:
    """A second rule does not see what a first one set."""
    rules = """
        rules:
          - {when: event.payment_amount_minor >= 4000, event: {set: {currency: XXX}}}
          - {when: event.currency == 'USD', event: {set: {seen: {cel: event.currency}}}}
          - {when: event.payment_amount_minor >= 1000000, rename: Large}
    """
    attributes = sent(rules)[1]["attributes"]
    assert (attributes["currency"], attributes["seen"]) == ("XXX", "USD")
    assert sent(rules)[1]["name"] == DEFAULT[1]["name"]


def test_events_are_added_beside_the_webhook_s() -> None:
    """With attributes of their own or the event's; renamed under a key they keep their id."""
    added = (
        "rules: [{{match: {{type: payment.succeeded}}, add: {{name: {name}, key: vip, copy: {copy}, set: {{a: 1}}}}}}]"
    )
    *_, first = sent(added.format(name="VIP", copy="false"))
    *_, second = sent(added.format(name="Very important", copy="true"))
    assert (first["name"], first["attributes"]) == ("VIP", {"a": 1})
    assert second["id"] == first["id"] != DEFAULT[1]["id"]
    assert second["attributes"] == {**DEFAULT[1]["attributes"], "a": 1}


def test_a_webhook_that_an_expression_cannot_take_is_a_dead_letter_with_its_place() -> None:
    """No sample looked like that; the field names the line."""
    found = verdict(
        "rules:\n- match: {type: payment.succeeded}\n  when: webhook.data.tax > 5\n  drop: event\n", tax="odd"
    )
    assert isinstance(found, DeadLettered)
    assert (found.class_, found.field) == ("transform-failed", "rules.yaml:3:9")


FAULTS = [
    ("rules: [", "rules.yaml:1:9: not YAML"),
    ("", "rules.yaml is empty"),
    ("[]", "rules.yaml:1:1: the file is a mapping with version, rules"),
    ("version: 2\nrules: []", "1:10: version 2 is not known"),
    ("rules: {a: 1}", "1:8: rules is a list"),
    ("ruels: []", "1:1: unknown field 'ruels' in the file; did you mean rules?"),
    ("rules:\n- renam: X", "2:3: unknown field 'renam' in a rule; did you mean rename?"),
    ("rules:\n- name: x", "2:3: this rule does nothing"),
    ("rules:\n- rename: X\n  rename: Y", "3:3: 'rename' stands here twice, first at line 2"),
    ("rules:\n- &a {event: *a}", "2:3: this contains itself"),
    ("rules:\n- {match: {type: payment.suceeded}, drop: event}",
     "2:18: 'payment.suceeded' is not a Dodo type of the catalogue; did you mean payment.succeeded?"),
    ("rules:\n- {match: {event: Payment Completed}, rename: X}", "did you mean payment_completed?"),
    ("rules:\n- {match: {type: payment.failed, event: payment_completed}, rename: X}",
     "2:11: this matches nothing: payment_completed comes from payment.succeeded alone"),
    ("rules:\n- {match: {family: payout}, rename: X}", "this matches nothing: of these types nothing is ever sent"),
    ("rules:\n- {drop: evnt}", "2:10: drop is one of event, profile, both; did you mean event?"),
    ("rules:\n- {event: {drop: [nmae]}}", "2:19: these events have no attribute 'nmae'; did you mean name?"),
    ("rules:\n- {profile: {drop: ['zz*']}}", "no attribute of the profile is called zz*"),
    ("rules:\n- {event: {drop: timestamp}}", "timestamp is the pipeline's own"),
    ("rules:\n- {event: {drop: id}}", "id is the pipeline's own"),
    ("rules:\n- {profile: {set: {cio_id: x}}}", "'cio_id' cannot be an attribute: it steers Customer.io itself"),
    ("rules:\n- {event: {set: {a.b: x}}}", "has a dot, which would nest it"),
    ("rules:\n- {event: {set: {a: null}}}", "2:18: an event has no attribute that is null"),
    ("rules:\n- {event: {set: {a: {value: null}}}}", "an event has no attribute that is null"),
    ("rules:\n- {add: {name: A, set: {a: }}}", "an event has no attribute that is null"),
    ("rules:\n- {event: {set: {a: no}}}", "2:21: YAML takes no for something else than text: quote it"),
    ("rules:\n- {event: {set: {a: 2026-01-01}}}", "quote it"),
    ("rules:\n- {event: {set: {a: .nan}}}", "quote it"),
    ("rules:\n- {event: {set: {a: 18446744073709551616}}}", "2:21: a number beyond 64 bits"),
    (f"rules:\n- {{event: {{set: {{a: -{'9' * 5000}}}}}}}", "2:21: a number beyond 64 bits"),
    ("rules:\n- {event: {set: {a: {cell: x}}}}", "unknown field 'cell' in a value that is no"),
    ("rules:\n- {when: event.curency == 'USD', drop: event}", "event has no 'curency'; did you mean currency?"),
    ("rules:\n- {when: event.currency > 5, drop: event}", "do not fit together"),
    ("rules:\n- {when: event.currency, drop: event}", "gives a str, not true or false"),
    ('rules:\n- {event: {set: {a: {cel: "timestamp(webhook.timestamp)"}}}}', "attribute a of this rule is a datetime"),
    ("rules:\n- {match: {type: payout.created}, drop: event}", "this matches nothing"),
    ("rules:\n- {match: {event: payment_failed}, event: {rename: {currency: a, email: a}}}", "'a' is made twice"),
    ("rules:\n- {event: {rename: {currency: a}}}\n- {event: {rename: {currency: b}}}",
     "3:21: two rules rename event attribute 'currency': the one at line 2 makes it 'a', this one finds it no more"),
    ("rules:\n- {event: {rename: {currency: a}}}\n- {event: {rename: {email: a}}}", "of different ones"),
    ("rules:\n- {match: {event: payment_completed}, event: {rename: {payment_id: email}}}",
     "2:56: payment_completed has 'email' already, which would be lost"),
    ("rules:\n- {profile: {rename: {phone: country}}}", "the profile has 'country' already"),
    (("rules:\n- {match: {type: payment.failed}, event: {drop: [payment_method]}}\n"
     "- {match: {family: [payment]}, event: {rename: {card_network: payment_method}}}"),
     "has 'payment_method' already"),
    (("rules:\n- {match: {type: payment.failed}, profile: {drop: [country]}}\n"
     "- {match: {family: [payment]}, profile: {rename: {name: country}}}"), "the profile has 'country' already"),
    ("known_attributes: [plan]\nrules:\n- {event: {rename: {currency: plan}}}", "the event has 'plan' already"),
    ("rules:\n- {event: {rename: {payment_amount: amount}}}", "dunning_recovered has 'amount' already"),
    ("rules:\n- {event: {rename: {payment_amount: a, currency: a_minor}}}", "'a_minor' is made twice"),
    ("rules:\n- {event: {rename: {payment_amount: a}, set: {a_value: 1}}}", "'a_value' is made twice"),
    ("rules:\n- {event: {rename: {payment_amount: a}}}\n- {event: {rename: {currency: a_minor}}}",
     "two rules make event attribute 'a_minor'"),
    ("rules:\n- {event: {set: {a: 1}}}\n- {event: {rename: {currency: a}}}", "two rules make event attribute 'a'"),
    ("rules:\n- {event: {rename: {currency: a}}}\n- {event: {set: {a: 1}}}", "two rules make event attribute 'a'"),
    ("rules:\n- {match: {event: payment_failed}, rename: A}\n- {match: {family: payment}, rename: B}",
     "3:38: two rules rename the same event"),
    ("rules:\n- {add: {name: A}}\n- {add: {name: A}}", "two rules add an event with the key 'A'"),
    ("rules:\n- {rename: " + "n" * 101 + "}", "at most 100 bytes"),
    ("rules:\n- {add: {set: {a: 1}}}", "an added event needs a name"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "says"), FAULTS)
def test_what_is_wrong_is_told_with_its_place(text: str, says: str) -> None:
    """At check time, and never by a customer's webhook."""
    with pytest.raises(RulesError) as raised:
        loaded(text)
    assert says in str(raised.value)
    assert raised.value.exit_code == 2


def test_all_faults_are_told_at_once() -> None:
    """In the order of the file."""
    with pytest.raises(RulesError) as raised:
        loaded("rules:\n- {renam: X}\n- {drop: evnt}\n- {match: {type: x}, drop: event}\n")
    assert [line.split(": ")[0] for line in str(raised.value).splitlines()][:2] == ["rules.yaml:2:3", "rules.yaml:2:4"]
    assert {"rules.yaml:3:10", "rules.yaml:4:18"} <= {line.split(": ")[0] for line in str(raised.value).splitlines()}


def test_aliases_of_aliases_are_refused() -> None:
    """Ten lines that would be ten billion values."""
    lines = ["known_attributes: [", "  &a0 x,"]
    lines += [f"  &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]," for n in range(1, 11)]
    with pytest.raises(RulesError, match="aliases"):
        loaded("\n".join([*lines, "]", "rules: []"]))


@pytest.mark.parametrize("size", [1_000_001, 10_000_000])
def test_a_huge_file_is_refused(size: int, tmp_path: Path) -> None:
    """Before it is read as YAML."""
    path = tmp_path / "rules.yaml"
    path.write_bytes(b"#" * size)
    with pytest.raises(RulesError, match="is the most that is read"):
        load(path)
    with pytest.raises(RulesError, match="cannot be read"):
        load(tmp_path / "missing.yaml")


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("double(event.payment_amount_value) * 2.0", "cents get lost"),
        ("double(event.payment_amount_minor) / 100.0", "binary fractions"),
        ("event.payment_amount_minor / 100", "4999 / 100 is 49"),
        ("double(webhook.data.total_amount) * 0.9", "binary fractions"),
    ],
)
def test_arithmetic_that_loses_cents_is_warned_about(expression: str, says: str) -> None:
    """Whole minor units stay whole."""
    rule = f'rules: [{{match: {{type: payment.succeeded}}, event: {{set: {{a: {{cel: "{expression}"}}}}}}}}]'
    assert any(says in fault.message for fault in loaded(rule).warnings)
    exact = rule.replace(expression, "event.payment_amount_minor + event.payment_amount_minor")
    assert loaded(exact).warnings == ()


def test_rules_told_apart_by_their_conditions_do_not_contradict() -> None:
    """One name a brand is what conditions are for."""
    assert (
        loaded(
            """
        rules:
          - {when: event.brand_id == 'a', rename: A}
          - {when: event.brand_id == 'b', rename: B}
        """
        ).warnings
        == ()
    )


def test_the_version_is_the_content() -> None:
    """Twelve characters of the file's hash, for headers, metrics and explain."""
    one, other = loaded("rules: []").rules.version, loaded("rules: [] ").rules.version
    assert one != other
    assert len(one) == 12


def test_the_schema_takes_what_the_check_takes_and_knows_the_catalogue() -> None:
    """It is valid itself, refuses what has another form, and lists types, families and events."""
    schema = document()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    good = (
        "rules: [{match: {type: payment.succeeded}, rename: X, event: {set: {a: 1, b: {cel: 'true'}}}, add: {name: Y}}]"
    )
    assert list(validator.iter_errors(yaml.safe_load(good))) == []
    loaded(good)
    forms = ["ruels:", "renam:", "drop: evnt", "payment.suceeded", "{cell: x}", "name: x", "Payment Completed"]
    for text, _ in FAULTS:
        if any(form in text for form in forms):
            assert list(validator.iter_errors(yaml.safe_load(text))), text
