"""Every recipe of the cook-book is a file that passes its own tests; docs/python.md shows the tested package."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import orjson
import pytest

from pipeline.dodo import samples
from pipeline.transform.mapping import map_body
from pipeline.transform.policy import Policy
from pipeline.transform.shaping.rules.cases import beside, read, run
from pipeline.transform.shaping.rules.compiled import Rules
from pipeline.transform.shaping.rules.loading import load, load_text
from pipeline.transform.verdicts import Delivery, Operations

ROOT = Path(__file__).parents[4]
DATA = ROOT / "tests" / "data" / "rules"
RECIPES = sorted(path for path in DATA.glob("*.yaml") if not path.name.endswith(".tests.yaml"))
PAGE = (ROOT / "docs" / "rules-cookbook.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_has_no_faults_and_becomes_what_its_cases_say(path: Path) -> None:
    """Not a warning either; and at least one of its cases is another than without rules."""
    loaded = load(path)
    assert loaded.warnings == ()
    cases = read(beside(path))
    results = run(cases, loaded.rules)
    assert [(result.case.name, result.differences) for result in results if not result.passed] == []
    bare = run(cases, load_nothing(path))
    assert any(with_rules.became != without.became for with_rules, without in zip(results, bare, strict=True))


WANTED = {"pdt_0NExampleProduct00001", "pdt_0NExampleProduct00002"}


@pytest.mark.parametrize("cart", [None, [], ["pdt_other"], ["pdt_other", *WANTED], ["pdt_0NExampleProduct00002"]])
@pytest.mark.parametrize("sample", [name for name in samples.names() if name.startswith(("payment.", "subscription."))])
def test_events_of_some_products_are_all_that_goes_out(sample: str, cart: list[str] | None) -> None:
    """Not those of a cart without them, or of a payment that names no product."""
    body = orjson.loads(samples.load(sample))
    body["data"]["product_cart"] = None if cart is None else [{"product_id": one, "quantity": 1} for one in cart]
    if cart and "subscription_id" in body["data"]:
        body["data"]["product_id"] = cart[0]
    told = [_products(event) for event in events_under("only-some-products", body)]
    assert all(products & WANTED for products in told)
    assert len(told) == sum(bool(_products(event) & WANTED) for event in events_under(None, body))


NAMING = [name for name in samples.names() if "customer" in orjson.loads(samples.load(name))["data"]]
"""Samples with the customer's address; the others name the customer by id alone, or nobody."""


@pytest.mark.parametrize("address", ["ada@example.com", "Ada@Example.COM"])
@pytest.mark.parametrize("sample", NAMING)
def test_nothing_goes_out_under_an_address_of_the_company(sample: str, address: str) -> None:
    """In whatever letters it was typed at the checkout."""
    body = orjson.loads(samples.load(sample))
    body["data"]["customer"] = {"customer_id": "cus_1", "email": address}
    assert operations_under("quiet-test-accounts", body) == []


def operations_under(recipe: str | None, body: dict[str, Any]) -> list[dict[str, Any]]:
    """What a webhook becomes with a recipe of the cook-book, or without one."""
    policy = Policy(shaper=load(DATA / f"{recipe}.yaml").rules if recipe is not None else None)
    found = map_body(orjson.dumps(body), Delivery("msg_1"), policy)
    return [orjson.loads(one.body) for one in found.operations] if isinstance(found, Operations) else []


def events_under(recipe: str | None, body: dict[str, Any]) -> list[dict[str, Any]]:
    """The events among them."""
    return [one for one in operations_under(recipe, body) if one["action"] == "event"]


def _products(event: dict[str, Any]) -> set[str]:
    attributes = event["attributes"]
    listed = {one["product_id"] for one in attributes.get("products", [])}
    return listed | ({attributes["product_id"]} if "product_id" in attributes else set())


def load_nothing(path: Path) -> Rules:
    """The shaper of a file without rules."""
    return load_text(b"rules: []", path).rules


def test_the_cook_book_has_every_recipe_word_for_word() -> None:
    """And no other."""
    shown = re.findall(r"```yaml\n(.*?)\n```", PAGE, re.DOTALL)
    assert sorted(shown) == sorted(path.read_text(encoding="utf-8").rstrip() for path in RECIPES)
    assert len(RECIPES) >= 15


def test_the_python_page_shows_the_tested_package() -> None:
    """Its first function is that of the example."""
    page = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    source = (ROOT / "tests" / "transform" / "shaping" / "shop" / "hooks.py").read_text(encoding="utf-8")
    function = re.search(r"def shape\(.*?\n    return Shaped\(identify, events\)\n", source, re.DOTALL)
    assert function is not None
    assert function[0] in page
