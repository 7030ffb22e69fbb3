"""Each known fault of a recipe is found at its line with the right form, and nothing in a recipe that is right."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.transform.javascript.lint import FAULTS, check
from pipeline.transform.javascript.lint.checked import exit_code
from pipeline.transform.javascript.recipes import Recipe, load_recipes

RECIPES = Path(__file__).parents[2] / "data" / "recipes"
ID = ("customer_id",)


def found(text: str, name: str = "a.js", types: frozenset[str] | None = None) -> set[tuple[str, int]]:
    """Codes and lines of what is found in a recipe."""
    (checked,) = check([Recipe(name, text, types)], ID)
    return {(finding.fault.code, finding.line) for finding in checked.findings}


def of_vendor(name: str) -> set[tuple[int | None, int]]:
    """Numbers and lines of what is found in the vendor's file."""
    (checked,) = check(load_recipes(RECIPES / name), ID)
    return {(finding.fault.number, finding.line) for finding in checked.findings}


def attribute(value: str, name: str = "a", action: str = "event") -> set[tuple[str, int]]:
    """What is found on line 3, where an attribute has this value."""
    text = (
        "function handler(w) { const d = w.payload.data;\n"
        f"return {{identifiers: {{id: d.customer?.customer_id}}, action: '{action}', name: 'n', attributes: {{\n"
        f"{name}: {value}\n}}}}; }}"
    )
    return {one for one in found(text) if one[1] == 3}


def test_the_vendors_payments_have_their_faults_where_they_are() -> None:
    """By number and line, as a reader of the page would mark them."""
    assert of_vendor("track_payments.js") == {
        (11, 1), (13, 1), (12, 2), (9, 4), (7, 5), (13, 5), (13, 8), (1, 10), (13, 13), (13, 14), (2, 15), (3, 15),
        (4, 16), (4, 18), (8, 22),
    }  # fmt: skip


def test_the_vendors_subscriptions_have_their_faults_where_they_are() -> None:
    """Both of its cases; the flag `cancel_at_next_billing_date` is no date."""
    assert of_vendor("track_subscriptions.js") == {
        (11, 1), (13, 1), (12, 4), (9, 5), (7, 6), (13, 6), (13, 9), (1, 11), (13, 14), (2, 17), (3, 17), (6, 19),
        (9, 24), (7, 25), (13, 25), (13, 28), (1, 30), (13, 33), (6, 35), (8, 41),
    }  # fmt: skip


def test_the_vendors_attributes_have_their_faults_where_they_are() -> None:
    """Totals that are one payment, a name on an identify, and times as text."""
    assert of_vendor("track_attributes.js") == {
        (11, 1), (13, 1), (12, 2), (9, 4), (7, 5), (13, 8), (10, 11), (13, 13), (13, 14), (2, 15), (3, 15), (5, 15),
        (4, 16), (6, 17), (5, 18), (6, 18), (8, 22),
    }  # fmt: skip


def test_all_thirteen_are_known() -> None:
    """Each number has a code, a right form and an answer to whether the pipeline mends it."""
    assert {fault.number for fault in FAULTS.values()} == {*range(1, 14), None}
    assert all(fault.right for fault in FAULTS.values())
    vendors = {
        number for name in ("payments", "subscriptions", "attributes") for number, _ in of_vendor(f"track_{name}.js")
    }
    assert vendors == set(range(1, 14))


RIGHT = """const EXPONENTS = {JPY: 0, KRW: 0, KWD: 3};
const CARED_FOR = ["payment.failed", "refund.succeeded", "subscription.active", "subscription.renewed",
  "subscription.on_hold", "subscription.cancelled", "subscription.expired", "subscription.plan_changed",
  "abandoned_checkout.detected", "dunning.started"];

function handler(webhook) {
  const data = webhook.payload.data;
  if (CARED_FOR.includes(webhook.eventType)) {
    if (data.previous_billing_date) return webhook.other;
    return null;
  }
  if (webhook.eventType !== "payment.succeeded" || data.is_update_payment_method || !data.total_amount) return null;
  const decimals = EXPONENTS[data.currency] ?? 2;
  return {
    type: "person",
    identifiers: {id: data.customer?.customer_id ?? data.customer_id},
    action: "event",
    name: "Paid",
    id: data.payment_id,
    timestamp: Math.floor(Date.parse(webhook.payload.timestamp) / 1000),
    attributes: {
      amount: data.total_amount / 10 ** decimals,
      currency: data.currency,
      paid_at: Math.floor(Date.parse(data.created_at) / 1000),
      ends: data.cancel_at_next_billing_date,
    },
  };
}
"""


def test_a_recipe_that_is_right_has_nothing_that_is_sent_wrong() -> None:
    """No fault and no error: what is left is what the pipeline does by itself."""
    (checked,) = check([Recipe("a.js", RIGHT.replace("return webhook.other", "return null"))], ID)
    assert [finding.fault.code for finding in checked.findings] == ["no-mode"]
    assert exit_code([checked]) == 0
    assert checked.trial is not None
    assert "payment.succeeded" in checked.trial.handled


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("d.amount / 100", "divided-by-100"),
        ("d.amount * 0.01", "divided-by-100"),
        ("d.amount.toFixed(2)", "amount-as-text"),
        ("(d.amount / 7)?.toFixed(2)", "amount-as-text"),
        ("d.currency || 'USD'", "invented-value"),
        ('d.currency ?? "USD"', "invented-value"),
        ("d.created_at", "iso-date"),
        ("d?.next_billing_date", "iso-date"),
        ("w.payload.timestamp", "iso-date"),
        ("new Date(d.created_at).toISOString()", "iso-date"),
        ("d.customer.email", "unguarded"),
        ("fetch('https://example.com')", "outside"),
        ("new Intl.NumberFormat()", "outside"),
        ("d.amount.toLocaleString()", "outside"),
        ("'https://track-eu.customer.io/api/v2/entity'", "fixed-host"),
    ],
)
def test_every_form_of_a_fault_is_found(value: str, code: str) -> None:
    """However it is written."""
    assert (code, 3) in attribute(value)


@pytest.mark.parametrize(
    "value",
    [
        "d.amount / 1000", "d.amount / 10 ** 2", "d.name || ''", "d.a || d.b", "d.cancel_at_next_billing_date",
        "Date.parse(d.created_at) / 1000", "d.customer?.email", "'toFixed'", "d.fetch", "d.module", "'a/100'",
    ],
)  # fmt: skip
def test_what_only_looks_like_a_fault_is_none(value: str) -> None:
    """Other numbers, other names, texts."""
    assert attribute(value) == set()


def test_a_guard_in_any_form_is_one() -> None:
    """A customer that is looked at before it is used needs no `?.`."""
    for guard in (
        "if (!d.customer) return null;",
        "if (d.customer) {}",
        "d.customer && 1;",
        "if (d.customer == null) {}",
    ):
        text = f"function handler(w) {{ const d = w.payload.data; {guard} return {{name: d.customer.email}} }}"
        assert not {code for code, _ in found(text)} & {"unguarded"}


def test_totals_are_wrong_on_a_profile_alone() -> None:
    """An event may well tell the total of what it is about."""
    assert ("overwritten-total", 3) in attribute("d.total_amount", "total_spent", "identify")
    assert ("overwritten-total", 3) not in attribute("d.total_amount", "total_spent", "event")


def test_what_a_recipe_fails_on_is_told_with_the_samples() -> None:
    """It is run on every sample; a failure is an error at its line."""
    text = "function handler(w) {\n if (w.eventType === 'refund.failed') {\n  return w.payload.x.y;\n }\n return w;\n}"
    (checked,) = check([Recipe("a.js", text)], ID)
    (failure,) = (one for one in checked.findings if one.fault.code == "fails")
    assert (failure.line, failure.fault.severity) == (3, "error")
    assert "cannot read property 'y' of undefined" in failure.text
    assert "refund.failed" in failure.text
    assert exit_code([checked]) == 2


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("function handler(w) { return w", 1),
        ("\n\nconst = 1", 3),
        ("function handle(w) { return w }", 1),
        ("async function handler(w) { return w }", 1),
    ],
)
def test_what_is_no_recipe_is_an_error_at_its_line(text: str, line: int) -> None:
    """The same words as at the start of a worker."""
    assert ("no-recipe", line) in found(text)


def test_files_that_run_together_miss_no_type_that_one_of_them_has() -> None:
    """What payments' file lacks the subscriptions' has; a file of one type misses none."""
    together = check(load_recipes(RECIPES), ID)
    missing = {one.file: one.text for checked in together for one in checked.findings if one.fault.number == 11}
    assert all("subscription.active" not in text and "payment.failed" in text for text in missing.values())
    alone = (RECIPES / "track_payments.js").read_text(encoding="utf-8")
    assert ("types-missing", 1) not in found(alone, "payment.succeeded.js", frozenset({"payment.succeeded"}))


def test_columns_count_characters() -> None:
    """What an editor shows, whatever alphabet stands before it."""
    (checked,) = check([Recipe("a.js", "/* 결제 */ const a = 5 / 100; function handler(w) { return null }")], ID)
    assert [(one.line, one.column) for one in checked.findings] == [(1, 20)]
