"""The vendor's own examples run as they stand on its page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from pipeline.dodo import samples
from pipeline.errors import ShapingError
from pipeline.transform.javascript.answers import NamedEvent, Told, told
from pipeline.transform.javascript.engine import Call, Engine, Sent, Untouched
from pipeline.transform.javascript.recipes import load_recipes

RECIPES = Path(__file__).parents[2] / "data" / "recipes"
PAGE = Path(__file__).parents[4] / "shared" / "reference" / "dodo-customer-io-page.md"


def run(name: str, sample: str) -> Told | None:
    """What the vendor's file tells of a sample; None: it returned it as it was."""
    body = samples.load(sample)
    answer = Engine(load_recipes(RECIPES / name)).run(
        0, Call(orjson.loads(body)["type"], body.decode(), 1_792_000_000_000, "msg_1")
    )
    if isinstance(answer, Untouched):
        return None
    assert isinstance(answer, Sent)
    return told([(name, payload) for payload in answer.payloads], orjson.loads(body), ("customer_id",))


def test_the_copies_are_the_pages() -> None:
    """Each file is a block of the page, letter by letter."""
    if not PAGE.exists():
        pytest.skip("the vendor's page is not beside the project")
    page = PAGE.read_text(encoding="utf-8")
    for file in RECIPES.glob("track_*.js"):
        assert f"```javascript {file.name}" in page
        assert file.read_text(encoding="utf-8") + "```" in page


@pytest.mark.parametrize(
    ("name", "sample", "expected"),
    [
        (
            "track_payments.js",
            "payment.succeeded",
            Told(
                None,
                (
                    NamedEvent(
                        "Payment Completed",
                        {
                            "email": "jiwoo.han@example.com",
                            "name": "Han Ji-woo",
                            "payment_amount": "46.65",
                            "payment_method": "card",
                            "payment_id": "pay_0NExamplePayment00001",
                            "currency": "USD",
                        },
                        "track_payments.js",
                    ),
                ),
            ),
        ),
        (
            "track_attributes.js",
            "payment.succeeded",
            Told(
                {
                    "email": "jiwoo.han@example.com",
                    "name": "Han Ji-woo",
                    "total_spent": "46.65",
                    "payment_method": "card",
                    "last_payment_date": "2026-10-14T08:21:45.182629Z",
                    "customer_since": "2026-10-14T08:21:45.182629Z",
                },
                (),
            ),
        ),
        ("track_payments.js", "payment.failed", None),
        ("track_subscriptions.js", "subscription.renewed", None),
    ],
)
def test_they_tell_what_the_page_says(name: str, sample: str, expected: Any) -> None:
    """An action that does not exist as an event, an identify as one, and other types untouched."""
    found = run(name, sample)
    assert found == expected


@pytest.mark.parametrize("sample", ["subscription.active", "subscription.cancelled"])
def test_subscriptions_are_events_of_the_recipes_names(sample: str) -> None:
    """The two of the page, with the recipe's own attributes."""
    found = run("track_subscriptions.js", sample)
    assert found is not None
    (event,) = found.events
    word = {"subscription.active": "Started", "subscription.cancelled": "Cancelled"}[sample]
    assert event.name == f"Subscription {word}"
    assert event.attributes["subscription_id"].startswith("sub_")


def test_no_sample_does_more_than_fail_in_words() -> None:
    """All three on every body that we know of: operations, untouched, or a failure with a line; nothing else."""
    failures = []
    for sample in samples.names():
        for name in ("track_payments.js", "track_subscriptions.js", "track_attributes.js"):
            try:
                run(name, sample)
            except ShapingError as error:
                failures.append((str(error), error.place))
    assert {place for _, place in failures} <= {
        "track_payments.js:10",
        "track_subscriptions.js:10",
        "track_subscriptions.js:29",
    }
    assert all(text.startswith("threw TypeError: cannot read property") for text, _ in failures)
