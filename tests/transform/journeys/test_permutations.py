"""Each journey in every order of arrival, retries and duplicates mixed in: the same events and the same people.

A webhook speaks when it arrives and cannot be called back, so a few orders cannot come to the same: `EXCEPTIONS` names
all of them, with the reason for each. All else is equal: the events by id, name, person, time and attributes, and what
the people show in the end.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import permutations
from random import Random
from typing import Any, Final, NamedTuple

import orjson

from pipeline.customerio.sandbox.config import SandboxConfig
from pipeline.customerio.sandbox.workspace import Arrival, Workspace
from pipeline.statestore.store import MemoryStore
from pipeline.transform.decision import decide
from pipeline.transform.mapping import map_webhook
from pipeline.transform.verdicts import Operations
from tests.transform.journeys.conftest import DATA, PATHS, journey_at

MOST_IN_FULL: Final = 6
"""Webhooks of a journey whose orders are all tried: 720."""

LONG: Final = "LONG_PERMUTATIONS" in os.environ
"""Twenty times as many samples."""

SAMPLES: Final = 2_000 if LONG else 60
"""Orders of longer journeys."""

ANY: Final = ("*",)
AMOUNT: Final = ("payment_amount", "payment_amount_value", "payment_amount_minor")
GOODS: Final = ("product_id", "product_name", "products")
BY_PAYMENT: Final = {
    "refund": ("succeeded", "failed"),
    "abandoned_checkout": ("detected", "recovered"),
    "dunning": ("started", "recovered"),
    "dispute": ("opened", "challenged", "accepted", "lost"),
}
"""Events by family that print what another webhook told of their payment."""


@dataclass(frozen=True)
class Exempt:
    """What the order of arrival decides after all.

    Args:
        why: the reason.
        events: names of the events that it concerns.
        attributes: of these, that may differ; `timestamp` is the event's own.
        journeys: where; everywhere if not said.
        told: whether the events themselves may be missing, or others of that name be told.
        missing: attributes that one order may lack; where both have them, they are equal.
    """

    why: str
    events: tuple[str, ...] = ANY
    attributes: tuple[str, ...] = ()
    journeys: tuple[str, ...] = ANY
    told: bool = False
    missing: tuple[str, ...] = ()

    def covers(self, journey: str, event: str, attribute: str | None, *, lacks: bool = False) -> bool:
        """Whether this difference is permitted; no attribute: that the event is told at all."""
        if not ({journey, "*"} & {*self.journeys} and {event, "*"} & {*self.events}):
            return False
        if attribute is None:
            return self.told
        return bool({attribute, "*"} & {*self.attributes}) or (lacks and attribute in self.missing)


EXCEPTIONS: Final = (
    Exempt(
        "an event says what was known when its webhook came: who it is about, where the body has but an id",
        attributes=("email", "name", "first_name"),
    ),
    Exempt(
        "what an event prints of its payment is known once the payment's own webhook came",
        tuple(f"{family}_{what}" for family, whats in BY_PAYMENT.items() for what in whats),
        missing=(*AMOUNT, *GOODS, "currency", "payment_currency", "payment_link"),
    ),
    Exempt(
        "what a dispute is about is known once the payment's webhook came, and only then its unit",
        tuple(f"dispute_{what}" for what in BY_PAYMENT["dispute"]),
        missing=("dispute_amount", "dispute_amount_value", "dispute_amount_minor"),
    ),
    Exempt(
        "what an event prints of its subscription is known once one of the subscription's webhooks came",
        (
            *(f"{family}_{what}" for family in ("dunning", "winback") for what in BY_PAYMENT["dunning"]),
            *(f"payment_{what}" for what in ("completed", "failed", "method_updated")),
        ),
        missing=(
            *GOODS,
            "amount",
            "amount_value",
            "amount_minor",
            "currency",
            "frequency",
            "frequency_count",
        ),
    ),
    Exempt(
        "an abandoned checkout prints the payment that failed until the one that was made is known",
        ("abandoned_checkout_recovered",),
        (*AMOUNT, "currency"),
    ),
    Exempt("the product of a charge is that of the plan seen last", ("payment_completed",), GOODS),
    Exempt("which payment is the first is known of those that came", ("payment_completed",), ("is_first_payment",)),
    Exempt(
        "a refund's event says how much was back by then",
        ("refund_succeeded",),
        ("refunded_total", "refunded_total_value", "refunded_total_minor", "fully_refunded"),
    ),
    Exempt(
        "the charge is in the payment's own webhook, and a renewal that overtakes it goes by the dates",
        ("subscription_renewed",),
        (*AMOUNT, "payment_currency", "is_trial_conversion"),
    ),
    Exempt(
        "whichever webhook shows first that a trial was paid for tells it, with its body's plan or the one known then",
        ("trial_converted",),
        ANY,
    ),
    Exempt(
        "that there was a trial is in the subscription's webhooks, which its first charge may overtake by two weeks",
        ("payment_completed",),
        ("is_trial_conversion",),
    ),
    Exempt(
        "that a charge ended a trial is in the payment's webhook",
        ("subscription_plan_changed", "subscription_cancellation_scheduled", "trial_started"),
        ("is_trial", "trial_ends_at", "trial_ends_at_unix"),
    ),
    Exempt(
        "the plan before this one is the last one seen",
        ("subscription_plan_changed",),
        (
            "previous_product_id",
            "previous_product_name",
            "previous_amount",
            "previous_amount_value",
            "previous_amount_minor",
            "direction",
        ),
    ),
    Exempt(
        "an activation that overtakes the first one by days is told as the start, once; nothing in its body says that "
        "another one is on the way",
        ("subscription_started",),
        ANY,
    ),
    Exempt(
        "whichever webhook shows first that a lapse is over tells it, with what its body has and the status of then",
        ("subscription_reactivated", "subscription_unpaused"),
        (
            "dodo_event_type",
            "webhook_id",
            "timestamp",
            "quantity",
            "next_billing",
            "next_billing_unix",
            "subscription_status",
            "superseded",
        ),
    ),
    Exempt(
        "of lapses in a row the last one names their answer, of those that are known: one answer all the same",
        ("subscription_reactivated",),
        journeys=("recovery-shown-first-by-an-update", "lapse-in-the-second-of-a-reading"),
        told=True,
    ),
    Exempt(
        "a pause's end may come before the pause: its own webhook names it, the pause does where another one tells it: "
        "one answer all the same",
        ("subscription_unpaused",),
        journeys=(
            "pause-shown-over-first-by-an-activation",
            "pause-that-another-webhook-ends",
            "pause-unpause",
            "two-subscriptions",
        ),
        told=True,
    ),
    Exempt(
        "a body that was read between two lapses, or behind both, looks the same: without an activation they are one",
        ("subscription_reactivated",),
        journeys=("two-lapses-without-an-activation",),
        told=True,
    ),
    Exempt(
        "which webhook first shows the flag, and which takes it back, is known only from what came before it",
        ("subscription_cancellation_scheduled", "subscription_cancellation_withdrawn"),
        ANY,
        journeys=("cancellation-scheduled-withdrawn-scheduled", "replay-after-ten-days"),
        told=True,
    ),
    Exempt(
        "a mandate may be charged at any time: the first charge is told from others by its payment alone",
        ("subscription_renewed",),
        journeys=("on-demand",),
        told=True,
    ),
    Exempt(
        "that the first charge came days after the creation is known by the activation, if that came before it",
        ("subscription_renewed",),
        journeys=("late-activation",),
        told=True,
    ),
    Exempt(
        "whichever of a card's two webhooks comes first tells of it, under its own name",
        ("payment_method_updated", "subscription_payment_method_updated"),
        journeys=("card-update",),
        told=True,
    ),
    Exempt("the first of two webhooks about one fact tells it", ANY, ("webhook_id",), ("one-fact-two-webhooks",)),
    Exempt(
        "the first of two readings of one webhook speaks",
        ANY,
        ANY,
        ("replay-after-ten-days", "one-webhook-one-event", "older-bodies-after-the-end"),
    ),
    Exempt(
        "the first of two readings of one webhook speaks, under the name or the fact's id that its body gives it",
        ("payment_action_required", "payment_processing", "entitlement_grant_revoked", "dispute_won"),
        journeys=("one-webhook-one-event",),
        told=True,
    ),
    Exempt(
        "whom a body with the id alone is about is known only from what came before it",
        ANY,
        ANY,
        (
            "email-changes-policy-email",
            "sticky-customer-first",
            "sticky-metadata-first",
            "id-only-body-first",
            "id-only-body-first-merged",
            "address-with-invisible-characters",
        ),
        told=True,
    ),
)
"""All of them. A new one needs a reason that the contract names: what an event says is what is known at its arrival."""

OTHER_PEOPLE: Final = {
    "address-with-invisible-characters": "a body without a usable address goes by the id until one is known",
    "id-only-body-first": "a body with the id alone goes by the id until a body knows the customer",
    "email-changes-policy-email": "the person of a former address has what was known when it was last used",
    "sticky-customer-first": "the first hit of the chain is for good, and which body is first is the order's",
    "sticky-metadata-first": "the first hit of the chain is for good, and which body is first is the order's",
    "test-mode-beside-live": "test mode has no state: the last identify that was taken is all that the person shows",
}
"""Journeys whose people depend on the order, with the reason."""


class End(NamedTuple):
    """What an order of arrival comes to: events by id, people by id or address."""

    events: dict[str, dict[str, Any]]
    people: dict[str, Any]


def end_of(journey: Any, webhooks: list[Any]) -> End:
    """Feed the webhooks in this order; an id that is told again is the same event, whatever it says."""
    store, workspace = MemoryStore(began_at_ms=journey.began_at_ms), Workspace(SandboxConfig())
    events: dict[str, dict[str, Any]] = {}

    def take(record: Any) -> None:
        decision = decide(record, journey.policy, map_webhook, store)
        verdict = decision.verdict
        for index, operation in enumerate(verdict.operations if isinstance(verdict, Operations) else ()):
            body = orjson.loads(operation.body)
            workspace.apply(body, Arrival(record.timestamp, record.offset), index)
            if operation.kind == "event":
                assert body["id"] not in events or record.mode == "test", f"{operation.name} was told again"
                told = {"event": body["name"], "person": body["identifiers"], "timestamp": body["timestamp"]}
                events.setdefault(body["id"], body["attributes"] | told)
        for command in decision.commands:
            take(replace(record, webhook_id="", type="", value=command.value, headers=command.headers))

    for webhook in webhooks:
        take(webhook)
    people = {person.id or str(person.email): (person.email, person.attributes) for person in workspace.people}
    return End(events, people)


def orders_of(journey: Any) -> Iterator[list[Any]]:
    """Orders of arrival; in every other one some deliveries come again somewhere later."""
    webhooks = list(journey.webhooks)
    rng = Random(journey.name)
    if len(webhooks) <= MOST_IN_FULL:
        orders: Iterator[list[Any]] = map(list, permutations(webhooks))
    else:
        orders = (rng.sample(webhooks, len(webhooks)) for _ in range(SAMPLES))
    for number, arrived in enumerate(orders):
        if number % 2:
            for again in rng.sample(arrived, rng.randrange(1, len(arrived) + 1)):
                arrived.insert(rng.randrange(arrived.index(again) + 1, len(arrived) + 1), again)
        yield arrived


def differences(expected: End, found: End) -> Iterator[tuple[str, str | None, bool]]:
    """Events' names, the attribute that differs, whether one lacks it; no attribute: the event is missing in one."""
    for id_ in expected.events.keys() ^ found.events.keys():
        yield (expected.events.get(id_) or found.events[id_])["event"], None, False
    for id_ in expected.events.keys() & found.events.keys():
        one, other = expected.events[id_], found.events[id_]
        for attribute in one.keys() | other.keys():
            if one.get(attribute) != other.get(attribute):
                yield one["event"], attribute, attribute not in one or attribute not in other


def bounds_of(journey: Any) -> dict[str, tuple[int, int]]:
    """The least and the most of each event that any order may tell."""
    exact = {event: (count, count) for event, count in journey.holds["events"].items()}
    return exact | {event: tuple(one["between"]) for event, one in journey.order_decides.get("events", {}).items()}


def test_every_order_of_arrival_comes_to_the_same(journey: Any) -> None:
    """The same events by id, name, person, time and attributes, and the same people, but for `EXCEPTIONS`."""
    expected, bounds = end_of(journey, list(journey.webhooks)), bounds_of(journey)
    for arrived in orders_of(journey):
        found = end_of(journey, arrived)
        not_permitted = {
            f"{event}, {attribute or 'told or not'}"
            for event, attribute, lacks in differences(expected, found)
            if not any(exempt.covers(journey.name, event, attribute, lacks=lacks) for exempt in EXCEPTIONS)
        }
        order = [f"{webhook.type} {webhook.webhook_id} {webhook.offset}" for webhook in arrived]
        assert not not_permitted, order
        counts = Counter(told["event"] for told in found.events.values())
        assert all(least <= counts[event] <= most for event, (least, most) in bounds.items()), order
        assert found.people == expected.people or journey.name in OTHER_PEOPLE, order


def test_a_changed_card_is_one_event() -> None:
    """Of each change exactly one of the two events, whatever comes first and again."""
    journey = journey_at(DATA / "card-update.yaml")
    for arrived in orders_of(journey):
        told = Counter(event["event"] for event in end_of(journey, arrived).events.values())
        assert told["payment_method_updated"] + told["subscription_payment_method_updated"] == 2


def test_every_exception_is_needed() -> None:
    """A reason that covers nothing any more is taken out of the table."""
    used: set[int] = set()
    others: set[str] = set()
    for path in PATHS:
        journey = journey_at(path)
        expected = end_of(journey, list(journey.webhooks))
        orders = list(orders_of(journey))
        for found in (end_of(journey, arrived) for arrived in orders[:: len(orders) // 24 | 1]):
            for event, attribute, lacks in differences(expected, found):
                used |= {
                    place
                    for place, one in enumerate(EXCEPTIONS)
                    if one.covers(journey.name, event, attribute, lacks=lacks)
                }
            if found.people != expected.people:
                others.add(journey.name)
    assert [one.why for place, one in enumerate(EXCEPTIONS) if place not in used] == []
    assert others == OTHER_PEOPLE.keys()
