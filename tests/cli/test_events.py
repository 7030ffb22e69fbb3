"""`dodo-cio events` lists what can be sent, for people and for scripts."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from pipeline.cli import build
from pipeline.errors import InputError
from pipeline.transform.mapping.reference import event_references


def run(*arguments: str, **environ: str) -> tuple[str, BaseException | None]:
    """Standard output and exception of the command in this environment."""
    result = CliRunner().invoke(build(), ["events", *arguments], env={"COLUMNS": "200", **environ})
    return result.stdout, result.exception


def test_it_lists_every_event() -> None:
    """With the types that send it and the campaigns that it starts."""
    out, error = run()
    assert error is None
    lines: dict[str, str] = {}
    for line in filter(str.strip, out.splitlines()):
        name = next(reversed(lines)) if line.startswith(" ") else line.split()[0]  # a cell may take several lines
        lines[name] = lines.get(name, "") + line
    for reference in event_references():
        assert reference.event in lines
        assert all(when.type in lines[reference.event] for when in reference.when)
    assert "Welcome" in lines["payment_completed"]


def test_one_event_with_all_that_it_carries() -> None:
    """When, what names the fact, and each attribute with its forms, an example and what it tells."""
    out, error = run("payment_completed")
    assert error is None
    for said in ("payment.succeeded: otherwise", "once for  payment_id", "campaign  Welcome", "payment_amount_minor",
                 "is_first_payment", "46.65"):  # fmt: skip
        assert said in out
    assert "failure_category" not in out


def test_types_of_one_condition_stand_together() -> None:
    """A recovery is shown by seven types, and said once."""
    out, _ = run("subscription_reactivated")
    (line,) = (line for line in out.splitlines() if line.startswith("  when      "))
    assert "subscription.active, subscription.renewed, " in line
    assert out.count("once for  subscription_id, lapse") == 1


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("payment_completed", {"payment_completed"}),
        ("Payment Completed", {"payment_completed"}),
        ("subscription.cancelled", {"subscription_cancelled"}),
        ("payment.processing", {"payment_action_required", "payment_processing"}),
        ("trial", {"trial_converted", "trial_started"}),
        ("winback", {"winback_recovered", "winback_started"}),
        ("checkout", {"abandoned_checkout_detected", "abandoned_checkout_recovered", "free_checkout_completed"}),
    ],
)
def test_an_event_is_found_by_name_type_or_words(words: str, expected: set[str]) -> None:
    """However it is written."""
    out, error = run(words, "--json")
    assert error is None
    assert {event["event"] for event in json.loads(out)["events"]} == expected


def test_json_has_the_same() -> None:
    """All events, or one; names in the operator's style."""
    out, _ = run("--json")
    assert len(json.loads(out)["events"]) == len(event_references())
    out, _ = run("refund_succeeded", "--json", PIPELINE_EVENT_NAME_STYLE="title")
    (event,) = json.loads(out)["events"]
    assert event["event"] == "Refund Succeeded"
    assert event["campaigns"] == ["Refund apology"]
    amount = next(one for one in event["attributes"] if one["name"] == "refund_amount")
    assert amount == {
        "name": "refund_amount",
        "names": ["refund_amount", "refund_amount_value", "refund_amount_minor"],
        "type": "money",
        "example": "10.00",
        "tells": "what this refund gave back",
    }


def test_what_profiles_carry() -> None:
    """The same for the person."""
    out, error = run("profile")
    assert error is None
    assert "total_spent_usd_value" in out
    out, _ = run("profile", "--json")
    assert {"trial_ends_at", "subscription_amount"} <= {one["name"] for one in json.loads(out)["profile"]}


def test_nothing_is_called_so() -> None:
    """The nearest names are told."""
    _, error = run("payment_compleeted")
    assert isinstance(error, InputError)
    assert "did you mean" in str(error)
    assert "payment_completed" in str(error)
    _, error = run("xyzzy")
    assert isinstance(error, InputError)
    assert "dodo-cio events lists all" in str(error)
