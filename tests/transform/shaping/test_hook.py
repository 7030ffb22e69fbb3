"""A user's own function shapes what is sent, and fails alone."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from itertools import repeat
from pathlib import Path
from typing import Any

import orjson
import pytest
from mypy import api

from pipeline.dodo import samples
from pipeline.errors import RulesError
from pipeline.settings import Settings
from pipeline.statestore.store import MemoryStore
from pipeline.transform.decision import decide
from pipeline.transform.mapping import map_body, map_webhook
from pipeline.transform.policy import Policy
from pipeline.transform.shaping import Event, Identify, Known, Shaped, Webhook
from pipeline.transform.shaping.hook import Hook, HookCalled, load_hook
from pipeline.transform.verdicts import DeadLettered, Delivery, Operations, Verdict
from tests.records import Consumed

SHOP = "tests.transform.shaping.shop.hooks"


def verdict(hook: Hook, sample: str = "payment.succeeded", **members: Any) -> Verdict:
    """What a sample becomes."""
    body = {**orjson.loads(samples.load(sample)), **members}
    return map_body(orjson.dumps(body), Delivery("msg_1"), Policy(shaper=hook))


def sent(found: Any) -> list[dict[str, Any]]:
    """Its operations."""
    assert isinstance(found, Operations), found
    return [orjson.loads(operation.body) for operation in found.operations]


def hook(function: Any, **changes: Any) -> Hook:
    """A hook that is one function."""
    return Hook(function, "shop.hooks:shape", "v1", **changes)


def test_it_is_called_after_the_default_mapping() -> None:
    """Renamed events keep their ids, additional ones have their own, and what is known of the customer decides."""
    plain = sent(verdict(hook(lambda _webhook, default, _known: default)))
    store, policy = MemoryStore(), Policy(shaper=load_hook(f"{SHOP}:shape"))
    body = orjson.loads(samples.load("payment.succeeded"))
    body["data"].update(total_amount=150_000, currency="USD")
    record = Consumed(orjson.dumps(body), (("webhook-id", b"msg_1"), ("webhook-timestamp", b"1792000000")))
    identify, paid, first = sent(decide(record, policy, map_webhook, store).verdict)
    assert (paid["name"], paid["id"]) == ("Order Paid", plain[1]["id"])
    assert first["name"] == "first_order"
    assert identify["attributes"]["vip"] is True
    assert "phone" not in identify["attributes"]


def test_it_maps_types_that_it_claims() -> None:
    """Unknown ones and those that are dropped by default; several operations from a generator."""
    claiming = load_hook(f"{SHOP}:opened")
    assert claiming.claims == {"checkout.opened", "credit.deducted"}
    operations = sent(verdict(claiming, type="checkout.opened"))
    assert [one.get("name") for one in operations] == [None, "checkout_opened"]
    assert isinstance(verdict(claiming, type="checkout.closed"), DeadLettered)


def test_it_comes_before_rules_and_both_versions_are_told(tmp_path: Path) -> None:
    """Rules may speak of what code adds once it is listed."""
    rules = tmp_path / "rules.yaml"
    rules.write_text("rules: [{match: {event: payment_completed}, event: {set: {shop: a}}}]")
    settings = Settings.load(rules=rules, transform=f"{SHOP}:shape")
    policy = Policy.of(settings)
    found = map_body(samples.load("payment.succeeded"), Delivery("msg_1"), policy)
    assert isinstance(found, Operations)
    assert found.shaped is not None
    assert len(found.shaped.split("+")) == 2
    event = orjson.loads(found.operations[1].body)
    assert (event["name"], event["attributes"]["shop"]) == ("Order Paid", "a")


def fails(_webhook: Webhook, _default: Shaped, _known: Known) -> Shaped:
    """A function with a bug."""
    raise ValueError("jiwoo.han@example.com")


def modifies(_webhook: Webhook, default: Shaped, _known: Known) -> Shaped:
    """A function that changes what others hold."""
    default.events[0].attributes["currency"] = "XXX"  # type: ignore[index]
    return default


async def promise() -> Shaped:
    """What an async function gives."""
    return Shaped(None)


def endless(*_: Any) -> Iterator[Event]:
    """A generator without an end."""
    return repeat(Event("again"))


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (fails, r"shop\.hooks:shape:\d+ failed: ValueError"),
        (modifies, r"shop\.hooks:shape:\d+ failed: TypeError"),
        (lambda *_: sys.exit(3), "failed: SystemExit"),
        (lambda *_: None, "returned nothing"),
        (lambda *_: promise(), "returned a promise"),
        (lambda *_: "payment", "returned a str"),
        (lambda *_: {"a": 1}, "returned a dict"),
        (lambda *_: [1], "a int among them"),
        (lambda *_: [Identify({}), Identify({})], "two Identify"),
        (endless, "events of one webhook; 20 is the most"),
        (lambda *_: Event("x", {"a": float("nan")}), "NaN"),
        (lambda *_: Shaped(None, [Event("x")]), "no tuple"),  # type: ignore[arg-type]
    ],
)
def test_what_fails_is_a_dead_letter_that_names_the_line(function: Any, reason: str) -> None:
    """And quotes nothing; the field is the place."""
    found = verdict(hook(function))
    assert isinstance(found, DeadLettered)
    assert found.class_ == "transform-failed"
    assert re.search(reason, found.reason), found.reason
    assert "example.com" not in found.reason
    if "failed" in reason:
        assert (found.field or "").startswith("shop.hooks:shape")


def test_a_slow_call_is_told() -> None:
    """Whether or not it fails; a quick one is not."""
    told: list[HookCalled] = []
    for budget_s, expected in ((0.0, 1), (60.0, 0)):
        told.clear()
        slow = hook(fails, budget_s=budget_s)
        slow.observe = told.append
        verdict(slow)
        assert len(told) == expected
    assert all(one.function == "shop.hooks:shape" for one in told)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("shop.hooks", "must look like package.module:function"),
        ("shop-hooks:x", "must look like"),
        ("nowhere.hooks:shape", "no module nowhere: install it"),
        (f"{SHOP}:shap", "has no shap; did you mean shape?"),
        (f"{SHOP}:VIP_MINOR", "is a int and no function"),
        ("tests.transform.shaping.test_hook:promise", "is async"),
        ("tests.transform.shaping.test_hook:sent", "must take (webhook, default, known)"),
    ],
)
def test_what_cannot_be_called_is_said_at_the_start(name: str, says: str) -> None:
    """A fault of the setting, and no dead letters."""
    with pytest.raises(RulesError) as raised:
        load_hook(name)
    assert says in str(raised.value)


def test_the_version_moves_with_the_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hash of the module's file."""
    monkeypatch.syspath_prepend(str(tmp_path))
    versions = set()
    for number in range(2):
        source = f"def shape(webhook, default, known):\n    return default  # {number}\n"
        (tmp_path / f"shop_{number}.py").write_text(source)
        versions.add(load_hook(f"shop_{number}:shape").version)
    assert len(versions) == 2


def test_an_example_package_is_typed(tmp_path: Path) -> None:
    """The strict mypy takes it, and refuses what the API does not have."""
    package = Path(__file__).parent / "shop" / "hooks.py"
    wrong = tmp_path / "wrong.py"
    wrong.write_text(
        "from pipeline.transform.shaping import Known, Shaped, Webhook\n"
        "def shape(webhook: Webhook, default: Shaped, known: Known) -> Shaped:\n"
        "    return Shaped(default.identity, webhook.typ)\n"
    )
    out, _, status = api.run(
        ["--strict", "--follow-imports=silent", f"--cache-dir={tmp_path}", str(package), str(wrong)]
    )
    faults = [line for line in out.splitlines() if "error:" in line]
    assert status == 1
    assert len(faults) == 2
    assert all("wrong.py:3" in line and "attr-defined" in line for line in faults)
