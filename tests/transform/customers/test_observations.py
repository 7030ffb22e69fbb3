"""The facts that a body tells."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from pipeline.dodo import samples
from pipeline.dodo.envelope import parse
from pipeline.transform.customers.observations import Observation, Observations, of_api_object, of_webhook
from pipeline.transform.policy import Policy
from pipeline.transform.timestamps import to_ms
from pipeline.transform.verdicts import Delivery
from pipeline.transform.webhook import Webhook

SUB = "sub_0NExampleSubscript001"
AT_S = 1_792_000_000


def shown(sample: str, timestamp: str | None = "2026-10-14T08:21:45.182629Z", **data: Any) -> Observations:
    """What a sample shows, some fields changed."""
    body = orjson.loads(samples.load(sample))
    body["data"].update(data)
    body["timestamp"] = timestamp
    return of_webhook(Webhook(parse(orjson.dumps(body)), Delivery("msg_1", attempt_at_s=AT_S)), Policy())


def facts_of(found: Observations) -> dict[str, list[Any]]:
    """Facts by kind."""
    return {telling.kind: telling.fact for telling in found.facts}


def test_a_payment() -> None:
    """Amount, currency and the body's own time as sent; who paid how; the periods that it pays for."""
    found = shown("payment.succeeded--multi-subscription")
    assert found.facts[0].ids == ("pay_0NExamplePayment00001",)
    starts = to_ms("2026-10-14T08:21:58Z")
    assert found.facts[0].fact == [
        4665,
        "USD",
        "2026-10-14T08:21:45.182629Z",
        "new",
        "card",
        False,
        "webhook",
        [[SUB, starts], ["sub_0NExampleSubscript002", starts]],
        None,
        [[], [SUB, "sub_0NExampleSubscript002"]],
    ]
    charged = [to_ms("2026-10-14T08:21:45.182629Z"), "pay_0NExamplePayment00001", "new"]
    assert found.facts[1:] == [
        Observation("charge", (subscription_id,), [[charged], []])
        for subscription_id in (SUB, "sub_0NExampleSubscript002")
    ]
    assert found.contact == ("jiwoo.han@example.com", "Han Ji-woo", "+15555550142", "US")


@pytest.mark.parametrize(
    ("data", "place", "expected"),
    [
        ({"total_amount": "4665"}, 0, 4665),
        ({"total_amount": "46.65"}, 0, None),
        ({"total_amount": None}, 0, None),
        ({"currency": "usd"}, 1, "USD"),
        ({"currency": "dollars"}, 1, None),
        ({"currency": None}, 1, None),
        ({"payment_method": "unknown"}, 4, None),
        ({"payment_method": None}, 4, None),
        ({"is_update_payment_method": True}, 5, True),
        ({"service_periods": None}, 7, []),
        ({"service_periods": [None, 5, {}, {"subscription_id": "s", "starts_at": "soon"}]}, 7, []),
    ],
)
def test_an_odd_payment(data: dict[str, Any], place: int, expected: Any) -> None:
    """What cannot be read is not known; it is no zero and no guess."""
    assert facts_of(shown("payment.succeeded", **data))["payment"][place] == expected


@pytest.mark.parametrize("timestamp", [None, "yesterday", "0001-01-01T00:00:00Z"])
def test_a_payment_without_a_time(timestamp: str | None) -> None:
    """The delivery's stands in."""
    assert facts_of(shown("payment.succeeded", timestamp))["payment"][2] == "2026-10-14T17:46:40.000Z"


@pytest.mark.parametrize(
    ("sample", "data"),
    [
        ("payment.succeeded", {"payment_id": None}),
        ("payment.failed", {"payment_id": None}),
        ("payment.cancelled", {"is_update_payment_method": True}),
        ("refund.failed", {}),
        ("refund.succeeded", {"refund_id": None}),
        ("refund.succeeded", {"payment_id": None}),
        ("subscription.active", {"subscription_id": None}),
        ("dispute.won", {}),
        ("dispute.lost", {"dispute_id": None}),
        ("dunning.started", {}),
    ],
)
def test_no_facts(sample: str, data: dict[str, Any]) -> None:
    """What did not happen, or cannot be named, is no fact."""
    assert shown(sample, **data).facts == []


@pytest.mark.parametrize(
    ("sample", "data", "expected"),
    [
        ("refund.succeeded", {}, [4665, "USD", "2026-10-14T08:21:45.182629Z", False, "webhook"]),
        ("refund.succeeded--amount-null", {}, [None, None, "2026-10-14T08:21:45.182629Z", False, "webhook"]),
        ("refund.succeeded", {"amount": "odd"}, [None, "USD", "2026-10-14T08:21:45.182629Z", False, "webhook"]),
    ],
)
def test_a_refund(sample: str, data: dict[str, Any], expected: list[Any]) -> None:
    """Whether it is partial is kept as said, also where the amount cannot be read."""
    assert shown(sample, **data).facts[0].fact == expected


def test_a_subscription() -> None:
    """Its state at the delivery; the plan for itself."""
    found = facts_of(shown("subscription.updated"))
    moment = [AT_S, to_ms("2026-10-14T08:21:45.182629Z")]
    state = found["subscription"]
    assert state[:3] == [*moment, "active"]
    assert state[6] == [[*moment, state[6][0][2], 2900, "USD", "Month", 1]]
    assert found["cancellation"] == [[*moment, True, "msg_1"]]


@pytest.mark.parametrize(
    ("sample", "data", "kinds"),
    [
        ("subscription.active", {}, {"subscription", "activation"}),
        ("subscription.active", {"status": None}, {"subscription", "activation"}),
        ("subscription.updated", {"status": None}, set()),
        ("subscription.updated", {"status": "cancelled"}, {"subscription"}),
        ("subscription.updated", {"status": "paused"}, {"subscription"}),
        ("subscription.updated", {"cancel_at_next_billing_date": None}, {"subscription"}),
        ("subscription.update_payment_method", {}, {"subscription"}),
        ("subscription.update_payment_method", {"payment_method_id": None}, {"subscription"}),
        ("subscription.renewed", {}, {"subscription"}),
    ],
)
def test_what_a_subscription_tells(sample: str, data: dict[str, Any], kinds: set[str]) -> None:
    """A flag counts while the subscription bills, a state where there is a status, said or implied."""
    assert set(facts_of(shown(sample, **data))) == kinds


def of_api(object_: Any, sample: str, **data: Any) -> Observations:
    """An object of the API with the fields of a sample."""
    body: dict[str, Any] = orjson.loads(samples.load(sample))["data"] | data
    return of_api_object(object_, body, body.get("customer") or {}, AT_S, Policy())


def test_an_api_payment_is_not_told() -> None:
    """Its time is that of its creation, and no event of it is out."""
    fact = facts_of(of_api("payment", "payment.succeeded"))["payment"]
    assert fact[2] == "2026-10-14T08:21:31.152232Z"
    assert fact[6] == "api"


@pytest.mark.parametrize("object_", ["payment", "refund"])
@pytest.mark.parametrize("status", [None, "failed", "processing", "pending"])
def test_what_did_not_succeed_is_no_money(object_: str, status: str | None) -> None:
    """Lists of the API have every attempt."""
    assert of_api(object_, f"{object_}.succeeded", status=status).facts == []


@pytest.mark.parametrize("type_", ["failed", "processing", "cancelled"])
def test_an_unpaid_payment(type_: str) -> None:
    """What a mail wants to print that asks for it: how much, for what, and where it can be paid."""
    link = "https://checkout.example.com/1"
    (told,) = shown(f"payment.{type_}", total_amount=4665, payment_link=link, subscription_id=None).facts
    assert (told.kind, told.ids) == ("unpaid", ("",))
    ((at_s, at_ms, payment_id, minor, currency, products, _, kept),) = told.fact
    assert (at_s, at_ms) == (AT_S, to_ms("2026-10-14T08:21:45.182629Z"))
    assert (payment_id, minor, currency, kept) == ("pay_0NExamplePayment00001", 4665, "USD", link)
    assert all(len(product) == 2 for product in products)
    ((*_, kept),) = shown(f"payment.{type_}", payment_link=f"https://example.com/{'a' * 500}").facts[0].fact
    assert kept is None


def test_an_api_subscription() -> None:
    """A cancellation that is scheduled already needs no telling; one that is not proves nothing."""
    scheduled = facts_of(of_api("subscription", "subscription.updated"))
    assert scheduled["cancellation"] == [[AT_S, 0, True, ""]]
    assert scheduled["subscription"][:3] == [AT_S, 0, "active"]
    assert set(facts_of(of_api("subscription", "subscription.active"))) == {"subscription"}


def test_a_listed_object_may_lack_fields() -> None:
    """List items of the API are smaller than webhooks (withcoral/coral, pull request 1359)."""
    listed = of_api_object("payment", {"payment_id": "pay_1", "status": "succeeded"}, {}, AT_S, Policy())
    assert facts_of(listed)["payment"] == [
        None,
        None,
        "2026-10-14T17:46:40.000Z",
        None,
        None,
        False,
        "api",
        [],
        None,
        None,
    ]
    assert of_api_object("subscription", {"subscription_id": "sub_1"}, {}, AT_S, Policy()).facts == []


def test_only_metadata_that_somebody_asks_for_is_kept() -> None:
    """What may go out, and what names the person; not a customer's whole notes."""
    policy = Policy(person_id_chain=("metadata.app_user_id", "email"), metadata=(("plan_tier", "metadata_plan_tier"),))
    found = of_webhook(Webhook(parse(samples.load("payment.succeeded")), Delivery("msg_1")), policy)
    assert found.metadata == {"plan_tier": "pro", "app_user_id": "u_1042"}


def test_a_trial_of_any_length_can_be_kept() -> None:
    """Its end is bounded: a larger number is none that JSON holds, and would make a dead letter of the webhook."""
    dates = {"created_at": "2026-10-14T08:21:45Z", "previous_billing_date": "2026-10-14T08:21:45Z"}
    found = shown("subscription.active", next_billing_date=None, trial_period_days=2**53 - 1, **dates)
    assert orjson.loads(orjson.dumps(facts_of(found)["subscription"])) == facts_of(found)["subscription"]
    assert "trial" not in facts_of(found)


@pytest.mark.parametrize(
    ("next_billing", "created", "previous", "kept"),
    [
        ("2026-11-28T09:21:45Z", "2026-10-14T08:21:45Z", "2026-10-14T08:21:45Z", True),  # later than planned
        ("2026-10-17T08:21:45Z", "2026-10-14T08:21:45Z", "2026-10-14T08:22:12Z", True),  # sooner
        ("2026-10-28T08:22:12Z", "2026-10-14T08:21:45Z", "2026-10-14T08:21:45Z", False),  # as planned, seconds off
        ("2026-11-28T08:21:45Z", "2026-10-14T08:21:45Z", "2026-10-28T08:21:45Z", False),  # the period after the trial
        ("2026-10-14T17:00:00Z", "2026-10-14T08:21:45Z", "2026-10-14T08:21:45Z", True),  # over when it was read
    ],
)
def test_a_moved_end_of_a_trial(next_billing: str, created: str, previous: str, *, kept: bool) -> None:
    """Kept when the first period shows it and it is not what the days make; a read of the API shows it as well."""
    dates = {"created_at": created, "previous_billing_date": previous, "next_billing_date": next_billing}
    found = shown("subscription.updated", **dates, trial_period_days=14)
    moved = [Observation("trial", (SUB,), [[to_ms(next_billing), AT_S]])] if kept else []
    assert [telling for telling in found.facts if telling.kind == "trial"] == moved
    body = orjson.loads(samples.load("subscription.updated"))["data"] | dates | {"trial_period_days": 14}
    read = of_api_object("subscription", body, {}, AT_S, Policy())
    assert [telling for telling in read.facts if telling.kind == "trial"] == moved
    assert "trial" not in facts_of(shown("subscription.updated", **dates, trial_period_days=14, on_demand=True))
