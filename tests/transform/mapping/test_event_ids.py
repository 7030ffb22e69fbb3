"""One fact, one id: through retries, replays and twin webhooks; two facts, two ids."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.dodo import samples
from pipeline.transform.mapping import map_body
from pipeline.transform.policy import Policy
from pipeline.transform.verdicts import Delivery, Operations

SENT = Policy(emit_first_renewal=True, emit_credit_deducted=True)


def event_id(
    name: str, *, webhook_id: str = "msg_1", policy: Policy = SENT, timestamp: str | None = None, **data: Any
) -> str:
    """The id of the event that a sample becomes, some of its fields changed."""
    body = orjson.loads(samples.load(name))
    body["data"].update(data)
    body["timestamp"] = timestamp or body["timestamp"]
    verdict = map_body(orjson.dumps(body), Delivery(webhook_id), policy)
    assert isinstance(verdict, Operations)
    return verdict.operations[-1].op_id


FACTS = [
    ("payment.succeeded", {"payment_id": "pay_other"}),
    ("payment.succeeded--update-payment-method", {"payment_id": "pay_other"}),
    ("refund.succeeded", {"refund_id": "ref_other"}),
    ("refund.failed", {"refund_id": "ref_other"}),
    ("subscription.active", {"subscription_id": "sub_other"}),
    ("dispute.opened", {"dispute_id": "dp_other"}),
    ("dispute.opened", {"dispute_stage": "pre_arbitration"}),
    ("license_key.created", {"id": "lic_other"}),
    ("credit.added", {"id": "cle_other"}),
    ("credit.deducted", {"id": "cle_other"}),
    ("entitlement_grant.created", {"id": "grant_other"}),
    ("entitlement_grant.created", {"revoked_at": "2026-10-02T00:00:00Z"}),
    ("entitlement_grant.delivered", {"id": "grant_other"}),
    ("entitlement_grant.delivered", {"delivered_at": "2026-12-01T00:00:00Z"}),
    ("entitlement_grant.failed", {"id": "grant_other"}),
    ("entitlement_grant.failed", {"delivered_at": "2026-10-01T00:00:00Z", "revoked_at": "2026-10-02T00:00:00Z"}),
    ("entitlement_grant.revoked", {"revoked_at": "2026-12-01T00:00:00Z"}),
    ("abandoned_checkout.detected", {"payment_id": "pay_other"}),
    ("abandoned_checkout.recovered", {"payment_id": "pay_other"}),
    ("dunning.started", {"created_at": "2026-12-14T08:23:00Z"}),
    ("dunning.recovered", {"subscription_id": "sub_other"}),
    ("subscription.updated", {"next_billing_date": "2026-12-14T08:21:58Z"}),
]


@pytest.mark.parametrize(("name", "other"), FACTS)
def test_a_fact_told_twice_is_one_event(name: str, other: dict[str, Any]) -> None:
    """Another webhook-id and another time do not make another fact; another of what names it does."""
    first = event_id(name)
    assert event_id(name, webhook_id="msg_2", timestamp="2026-12-31T00:00:00Z") == first
    assert event_id(name, **other) != first


def test_a_free_checkout_is_named_by_its_payment() -> None:
    """A sale of nothing, for no subscription: told by two webhooks it is one event."""
    zero: dict[str, Any] = {"subscription_id": None, "subscription_ids": []}
    first = event_id("payment.succeeded--free-trial-zero", **zero)
    assert event_id("payment.succeeded--free-trial-zero", webhook_id="msg_2", **zero) == first
    assert event_id("payment.succeeded--free-trial-zero", payment_id="pay_other", **zero) != first


@pytest.mark.parametrize(
    "name",
    [
        "payment.failed",
        "payment.processing",
        "payment.cancelled",
        "subscription.renewed",
        "subscription.on_hold",
        "subscription.past_due",
        "subscription.paused",
        "subscription.unpaused",
        "subscription.cancelled",
        "subscription.failed",
        "subscription.expired",
        "subscription.plan_changed",
        "subscription.update_payment_method",
        "credit.balance_low",
    ],
)
def test_what_can_happen_again_is_named_by_its_webhook(name: str) -> None:
    """A second renewal, failure or low balance is a second event; a retry of the first is not."""
    assert event_id(name) == event_id(name)
    assert event_id(name, webhook_id="msg_2") != event_id(name)


@pytest.mark.parametrize("name", [name for name, _other in FACTS])
def test_the_style_of_names_changes_no_id(name: str) -> None:
    """A workspace that switches styles does not get its replays doubled."""
    styled = Policy(title_names=True, emit_credit_deducted=True)
    assert event_id(name, policy=styled) == event_id(name)


def test_the_same_moment_in_another_notation_is_the_same_fact() -> None:
    """`+09:00`, no fraction or six zeros: what is compared is the instant."""
    first = event_id("dunning.started")
    assert event_id("dunning.started", created_at="2026-11-14T17:23:00+09:00") == first
    assert event_id("dunning.started", created_at="2026-11-14T08:23:00Z") == first


def test_a_retry_that_shows_what_came_later_is_the_same_failure() -> None:
    """The body is read anew at each attempt: a grant that was delivered meanwhile still failed once."""
    first = event_id("entitlement_grant.failed")
    assert event_id("entitlement_grant.failed", status="Delivered", delivered_at="2026-10-15T00:00:00Z") == first


def test_a_cancellation_is_scheduled_once_a_period() -> None:
    """Any other change of the subscription fires the type again, days later, with a date of other digits."""
    first = event_id("subscription.updated")
    later = event_id(
        "subscription.updated",
        webhook_id="msg_2",
        timestamp="2026-10-30T00:00:00Z",
        next_billing_date="2026-11-14T08:21:58Z",
        quantity=9,
    )
    assert later == first


@given(st.text(min_size=1, max_size=40), st.text(min_size=1, max_size=40))
def test_two_webhooks_never_share_an_id(one: str, other: str) -> None:
    """Whatever their ids are made of."""
    assert (event_id("payment.failed", webhook_id=one) == event_id("payment.failed", webhook_id=other)) == (
        one == other
    )
