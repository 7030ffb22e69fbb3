"""`dodo-cio recipe` finds what is wrong with a recipe, and shows what it sends beside the default mapping."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from pipeline.cli import build
from pipeline.dodo import samples
from pipeline.errors import InputError, UnreadableBodyError

RECIPES = Path(__file__).parents[1] / "data" / "recipes"
PAYMENTS = str(RECIPES / "track_payments.js")


def run(*arguments: str, stdin: bytes | None = None) -> Result:
    """The command's outcome."""
    return CliRunner().invoke(build(), ["recipe", *arguments], input=stdin)


def document(*arguments: str, code: int = 0, stdin: bytes | None = None) -> Any:
    """The JSON that it prints."""
    result = run(*arguments, "--json", stdin=stdin)
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


def test_lint_prints_file_line_and_the_right_form() -> None:
    """A line that editors can jump to, then what to write instead; the sum at the end; exit code 1."""
    result = run("lint", PAYMENTS)
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    at = next(
        number
        for number, line in enumerate(lines)
        if line.startswith("track_payments.js:15:26 fault divided-by-100 2: ")
    )
    assert lines[at + 1].startswith("    → divide by 10 ** the currency's decimals")
    assert "track_payments.js:10:7 mended invalid-action 1: " in result.stdout
    assert lines[-1] == "track_payments.js: 8 fault, 7 mended; handles payment.succeeded"


def test_lint_for_scripts() -> None:
    """Every finding with its place, number, severity and right form; what the samples say; the exit code."""
    found = document("lint", str(RECIPES), code=1)
    assert found["exit_code"] == 1
    assert [one["file"] for one in found["files"]] == [
        "track_attributes.js",
        "track_payments.js",
        "track_subscriptions.js",
    ]
    numbers = {finding["number"] for one in found["files"] for finding in one["findings"]}
    assert numbers == set(range(1, 14))
    first = found["files"][1]["findings"][0]
    assert list(first) == ["line", "column", "code", "number", "severity", "text", "right"]
    assert found["files"][1]["handled"] == ["payment.succeeded"]
    assert "payment.failed" in found["files"][1]["untouched"]


def test_lint_ends_with_0_and_2_as_documented(tmp_path: Path) -> None:
    """0 for what the pipeline mends, 2 for what would not run."""
    fine = tmp_path / "fine.js"
    fine.write_text("function handler(webhook) { return webhook; }\n", encoding="utf-8")
    assert document("lint", str(fine))["exit_code"] == 0
    broken = tmp_path / "broken.js"
    broken.write_text("function handler(webhook) {\n", encoding="utf-8")
    (file,) = document("lint", str(broken), code=2)["files"]
    assert [(one["code"], one["line"]) for one in file["findings"]] == [("no-recipe", 1)]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["lint", "nowhere.js"], "nowhere.js is not there"),
        (["explain", "nowhere.js", "--sample", "payment.succeeded"], "nowhere.js is not there"),
        (["lint", "x" * 5000], "cannot be read"),
        (["explain", PAYMENTS], "give either --sample"),
        (["explain", PAYMENTS, "--sample", "refund.failed", "--file", "-"], "give either --sample"),
        (["explain", PAYMENTS, "--sample", "zzz"], "there is no sample"),
        (["explain", str(Path(__file__)), "--sample", "payment.succeeded"], "holds no recipe"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(arguments: list[str], said: str) -> None:
    """About the file that was given, not about a setting."""
    error = run(*arguments).exception
    assert isinstance(error, InputError)
    assert error.exit_code == 2
    assert said in str(error)
    assert "PIPELINE_" not in str(error)
    assert "\n" not in str(error)


def test_explain_shows_the_recipe_beside_the_default() -> None:
    """What it returns and why Customer.io refuses that, what the pipeline makes of it, and what differs."""
    out = run("explain", PAYMENTS, "--sample", "payment.succeeded").stdout
    raw, _, rest = out.partition("the pipeline with it")
    ours, _, default = rest.partition("the default mapping")
    assert '"action": "payment_completed"' in raw
    assert "Customer.io refuses it: action must be one of" in raw
    assert '"action": "event"' in ours
    assert '"name": "Payment Completed"' in ours
    assert '"name": "payment_completed"' in default
    assert 'event (name): recipe "Payment Completed", default "payment_completed"' in default
    assert "event payment_amount_minor: recipe -, default 4665" in default
    assert all(line == line.rstrip() for line in out.splitlines())


def test_explain_for_scripts() -> None:
    """The raw payload with its refusals, both explanations, and each difference."""
    found = document("explain", PAYMENTS, "--sample", "payment.succeeded--jpy", "--webhook-id", "msg_1")
    assert list(found) == ["webhook_type", "webhook_id", "recipes", "with_recipe", "default", "differences"]
    (raw,) = found["recipes"]
    assert (raw["file"], raw["answer"], raw["reason"]) == ("track_payments.js", "payloads", None)
    assert raw["refusals"][0][0].startswith("action must be one of")
    (event,) = found["with_recipe"]["operations"]
    assert event["id"] == found["default"]["operations"][-1]["id"]
    amount = next(one for one in found["differences"] if one["attribute"] == "payment_amount")
    assert float(amount["recipe"]) * 100 == float(amount["default"])  # the yen that the recipe divides


def test_explain_of_what_is_untouched_and_of_what_fails(tmp_path: Path) -> None:
    """The raw body that the dashboard would send, and the line of a failure: both are answers."""
    (raw,) = document("explain", PAYMENTS, "--sample", "payment.failed")["recipes"]
    assert raw["answer"] == "untouched"
    assert raw["refusals"] == [["type must be one of person, object, delivery"]]
    out = run("explain", PAYMENTS, "--sample", "payment.failed").stdout
    assert "the pipeline with it sends what the default mapping sends" in out
    failing = tmp_path / "a.js"
    failing.write_text("function handler(webhook) {\n  return webhook.payload.x.y;\n}", encoding="utf-8")
    found = document("explain", str(failing), "--file", "-", stdin=samples.load("payment.failed"))
    assert found["recipes"][0]["reason"] == "a.js:2: it threw TypeError: cannot read property 'y' of undefined"
    assert found["with_recipe"]["class"] == "transform-failed"
    assert found["default"]["verdict"] == "operations"


def test_explain_wants_a_webhook() -> None:
    """Exit code 2 for bytes that are none."""
    error = run("explain", PAYMENTS, "--file", "-", stdin=b"{}").exception
    assert isinstance(error, UnreadableBodyError)
