"""`dodo-cio rules` checks, tests and explains a file of rules, for people and for pipelines."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml
from typer.testing import CliRunner, Result

from pipeline.cli import build
from pipeline.errors import InputError, RulesError

GOOD = "rules:\n- match: {event: payment_completed}\n  rename: Order Paid\n"
WARNED = "rules:\n- match: {family: payment}\n  profile: {drop: phone}\n"
BROKEN = "rules:\n- renam: X\n- drop: evnt\n"


def run(*arguments: str, **environ: str) -> Result:
    """The command's result."""
    return CliRunner().invoke(build(), list(arguments), env=environ)


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    """A good file of rules."""
    path = tmp_path / "rules.yaml"
    path.write_text(GOOD)
    return path


def test_check_says_how_many_rules_of_which_version(rules: Path) -> None:
    """Named as an argument or by the setting."""
    for result in (run("rules", "check", str(rules)), run("rules", "check", PIPELINE_RULES=str(rules))):
        assert result.exit_code == 0
        assert "rules.yaml: 1 rule, version " in result.stdout


def test_check_names_every_fault(rules: Path) -> None:
    """On standard error with exit code 2, or as JSON."""
    rules.write_text(BROKEN)
    result = run("rules", "check", str(rules), "--json")
    assert isinstance(result.exception, RulesError)
    assert result.exception.exit_code == 2
    faults = json.loads(result.stdout)["faults"]
    assert faults == str(result.exception).splitlines()
    assert any(":2:3: unknown field 'renam'" in fault for fault in faults)
    assert any(":3:9: drop is one of" in fault for fault in faults)


def test_strict_makes_warnings_faults(rules: Path) -> None:
    """For a pre-commit hook."""
    rules.write_text(WARNED)
    lenient, strict = run("rules", "check", str(rules)), run("rules", "check", "--strict", str(rules))
    assert lenient.exit_code == 0
    assert "rules.yaml:2:10: warning: profile updates come with all types" in lenient.stderr
    assert isinstance(strict.exception, RulesError)


def test_without_a_file_it_says_what_to_give() -> None:
    """Neither argument nor setting."""
    result = run("rules", "check", PIPELINE_RULES="")
    assert isinstance(result.exception, InputError | RulesError)


def test_cases_are_written_run_and_fail_when_the_rules_change(rules: Path) -> None:
    """--update writes them; a change of the rules is shown as a difference, with exit code 1."""
    missing = run("rules", "test", str(rules))
    assert isinstance(missing.exception, InputError)
    assert "--update writes one" in str(missing.exception)
    assert run("rules", "test", str(rules), "--update").exit_code == 0
    cases = yaml.safe_load((rules.parent / "rules.tests.yaml").read_text())["cases"]
    assert [operation.get("name") for operation in cases[0]["operations"]] == [None, "Order Paid"]
    passed = run("rules", "test", str(rules))
    assert (passed.exit_code, passed.stdout) == (0, "1 of 1 cases passed\n")
    rules.write_text(GOOD.replace("Order Paid", "Paid"))
    failed = run("rules", "test", str(rules))
    assert failed.exit_code == 1
    assert 'operations[1].name: expected "Order Paid", became "Paid"' in failed.stdout
    document = json.loads(run("rules", "test", str(rules), "--json").stdout)
    assert [case["passed"] for case in document["cases"]] == [False]
    assert run("rules", "test", str(rules), "--update").exit_code == 0
    assert "as they were" in run("rules", "test", str(rules), "--update").stdout
    assert run("rules", "test", str(rules)).exit_code == 0


def test_cases_know_customers_and_are_not_swayed_by_the_environment(rules: Path) -> None:
    """What came before them is known, and settings are the defaults wherever they run."""
    rules.write_text(
        "rules:\n- when: profile.payment_count >= 2\n  match: {event: payment_completed}\n  add: {name: Second order}\n"
    )
    (rules.parent / "rules.tests.yaml").write_text(
        """
cases:
- name: second
  sample: payment.succeeded
  change: {data: {payment_id: pay_2}}
  webhook_id: msg_2
  after: [{sample: payment.succeeded}]
- name: first
  sample: payment.succeeded
"""
    )
    assert run("rules", "test", str(rules), "--update", PIPELINE_EVENT_NAME_STYLE="title").exit_code == 0
    second, first = yaml.safe_load((rules.parent / "rules.tests.yaml").read_text())["cases"]
    assert [one["name"] for one in second["operations"] if one["action"] == "event"] == [
        "payment_completed",
        "Second order",
    ]
    assert [one["name"] for one in first["operations"] if one["action"] == "event"] == ["payment_completed"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("cases: 5", "1:8: cases is a list"),
        ("cases:\n- sampel: x", "unknown field 'sampel' in a case; did you mean sample?"),
        ("cases:\n- sample: payment.suceeded", "did you mean payment.succeeded?"),
        ("cases:\n- {sample: payment.failed, webhook: {}}", "either sample or webhook"),
        ("cases:\n- {sample: payment.failed, mode: dead}", "mode is live or test"),
    ],
)
def test_faults_of_cases_have_their_place(rules: Path, text: str, says: str) -> None:
    """As those of rules."""
    (rules.parent / "rules.tests.yaml").write_text(text)
    result = run("rules", "test", str(rules))
    assert isinstance(result.exception, RulesError)
    assert says in str(result.exception)


def test_cases_that_cannot_be_written(rules: Path) -> None:
    """One message with the file, exit code 2."""
    (rules.parent / "rules.tests.yaml").symlink_to(rules.parent / "none" / "rules.tests.yaml")
    result = run("rules", "test", str(rules), "--update")
    assert isinstance(result.exception, InputError)
    assert "rules.tests.yaml cannot be written" in str(result.exception)


def test_schema_is_one(rules: Path) -> None:
    """What it prints takes the good file."""
    schema = json.loads(run("rules", "schema").stdout)
    jsonschema.validate(yaml.safe_load(rules.read_text()), schema)


def test_explain_shows_what_rules_make_and_their_version(rules: Path) -> None:
    """Beside the setting, which --rules replaces; a journey too."""
    result = run("explain", "--sample", "payment.succeeded", "--rules", str(rules), "--json")
    document = json.loads(result.stdout)
    assert document["operations"][1]["name"] == "Order Paid"
    assert document["rules"]
    assert any("rules.yaml:2 was applied" in warning for warning in document["warnings"])
    other = run("explain", "--sample", "payment.succeeded", "--state", "--json", PIPELINE_RULES=str(rules))
    assert json.loads(other.stdout)["webhooks"][0]["operations"][1]["name"] == "Order Paid"
    shown = run("explain", "--sample", "payment.succeeded", "--rules", str(rules)).stdout
    assert f"rules      version {document['rules']}" in shown
    rules.write_text(BROKEN)
    refused = run("explain", "--sample", "payment.succeeded", "--rules", str(rules))
    assert isinstance(refused.exception, RulesError)
