"""docs/javascript.md says only what is true: faults, limits, file names, and the recipe that it shows runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import orjson
import pytest

from pipeline.dodo import samples
from pipeline.dodo.catalogue import Family
from pipeline.settings import Settings
from pipeline.transform.copies import Copy
from pipeline.transform.javascript import engine, recipes
from pipeline.transform.javascript.beside import beside
from pipeline.transform.javascript.lint import FAULTS, check
from pipeline.transform.javascript.lint.checked import exit_code
from pipeline.transform.javascript.recipes import Recipe
from pipeline.transform.javascript.shaper import JavaScript
from pipeline.transform.mapping import map_body
from pipeline.transform.policy import Policy
from pipeline.transform.shaping.applied import EVENTS_MAX
from pipeline.transform.verdicts import Delivery, Operations

PAGE = (Path(__file__).parents[3] / "docs" / "javascript.md").read_text(encoding="utf-8")
PRELUDE = Path(engine.__file__).with_name("prelude.js").read_text(encoding="utf-8")
ID = ("customer_id",)

HERE = {"mended": "mended", "fault": "sent as it is", "error": "not sent"}


def shown() -> Recipe:
    """The recipe of the page."""
    (text,) = re.findall(r"```javascript\n(.*?)```", PAGE, re.DOTALL)
    return Recipe("shown.js", text)


def test_the_table_of_faults_is_the_lints() -> None:
    """Every code with its number, what happens here and what is wrong, in the order of the vendor's page."""
    rows = re.findall(r"^\| `([a-z0-9-]+)` \| (\d*) \| ([a-z ]+) \| (.+) \|$", PAGE, re.MULTILINE)
    assert rows == [(one.code, str(one.number or ""), HERE[one.severity], one.text) for one in FAULTS.values()]


def test_the_limits_are_the_engines() -> None:
    """Each figure of the table."""
    assert f"{engine.TIME_LIMIT_S * 1000:.0f} ms of processor time" in PAGE
    assert f"| memory | {engine.MEMORY_LIMIT_BYTES // 2**20} MB |" in PAGE
    assert f"{engine.STACK_LIMIT_BYTES // 1024} kB of stack" in PAGE
    assert f"{recipes.RECIPE_MAX_BYTES:,} bytes" in PAGE
    assert f"| events of a webhook | {EVENTS_MAX} |" in PAGE
    assert "const RESULT_CHARS = 1000000;" in PRELUDE
    assert "const ARRAY_LENGTH = 1000000;" in PRELUDE
    assert "1,000,000 characters of JSON" in PAGE
    assert "| 1,000,000 elements |" in PAGE


def test_every_family_is_named() -> None:
    """A file may be called so."""
    (row,) = re.findall(r"^\| `payment\.js` \| .*$", PAGE, re.MULTILINE)
    assert set(re.findall(r"`([a-z_]+)`", row)) == set(Family)


def test_the_recipe_that_is_shown_has_no_fault() -> None:
    """What lint finds in it is mended here."""
    checked = check([shown()], ID)
    assert exit_code(checked) == 0, checked


@pytest.mark.parametrize(
    ("sample", "amount"),
    [("payment.succeeded", 46.65), ("payment.succeeded--jpy", 4980), ("payment.succeeded--kwd", None)],
)
def test_the_recipe_that_is_shown_tells_the_right_amount(sample: str, amount: float | None) -> None:
    """In currencies of two, no and three decimals, as the default mapping does."""
    ours = map_body(samples.load(sample), Delivery("msg_1"), Policy(shaper=JavaScript([shown()], ID)))
    default = map_body(samples.load(sample), Delivery("msg_1"), Policy())
    assert isinstance(ours, Operations)
    assert isinstance(default, Operations)
    told = orjson.loads(ours.operations[-1].body)["attributes"]["payment_amount_value"]
    assert told == orjson.loads(default.operations[-1].body)["attributes"]["payment_amount_value"]
    assert amount is None or told == pytest.approx(amount)


@pytest.mark.parametrize("sample", ["payment.succeeded--update-payment-method", "payment.succeeded--free-trial-zero"])
def test_the_recipe_that_is_shown_starts_no_campaign_for_nothing(sample: str) -> None:
    """A changed card and a trial are no purchase."""
    verdict = map_body(samples.load(sample), Delivery("msg_1"), Policy(shaper=JavaScript([shown()], ID)))
    assert isinstance(verdict, Operations)
    assert verdict.operations == ()


def test_the_comparison_is_what_explain_says() -> None:
    """Every attribute that the vendor's recipes tell otherwise, by both sides."""
    recipes_of_the_vendor = Path(__file__).parents[2] / "data" / "recipes"
    found = beside(Copy(samples.load("payment.succeeded--jpy")), Settings.load(javascript=recipes_of_the_vendor))
    expected = [
        (one.where, one.attribute, *(_cell(one.sides.get(side, ...)) for side in ("recipe", "default")))
        for one in found.differences
        if "recipe" in one.sides or one.attribute.startswith(("payment_amount", "last_payment"))
    ]
    assert re.findall(r"^\| (profile|event) \| (\S+) \| (.*?) ?\| (.*?) ?\|$", PAGE, re.MULTILINE) == expected


def _cell(value: Any) -> str:
    return "" if value is ... else f"`{orjson.dumps(value).decode()}`"
