"""Each journey in other orders, with repetitions and crashes: the end is the same, and no event is told twice."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

Holdings = Callable[[Any], dict[str, Any]]

SEEDS = range(40)
NOBODY: dict[str, Any] = {"email": None, "attributes": {}}
"""A person of whom only events are known."""


@contextmanager
def at(seed: int) -> Iterator[None]:
    """A failure inside names the seed; one test a seed would spend its time on pytest."""
    try:
        yield
    except AssertionError as error:
        error.add_note(f"at seed {seed}")
        raise


def shuffled(journey: Any, seed: int) -> list[Any]:
    """The journey's webhooks in any order, about half of them once or twice more."""
    rng = Random(f"{journey.name} {seed}")
    webhooks = [webhook for webhook in journey.webhooks for _ in range(rng.choice((1, 1, 2, 3)))]
    rng.shuffle(webhooks)
    return webhooks


def totals_of(journey: Any) -> dict[str, dict[str, int]]:
    """Customer → currency → what was paid less what came back, summed up from the bodies alone.

    Written for the sum only: payments by id, then all the refunds of each. One that is not partial leaves nothing.
    """
    paid: dict[str, tuple[str, str, int]] = {}
    given_back: dict[str, dict[str, tuple[str, int | None]]] = defaultdict(dict)
    for webhook in journey.webhooks:
        data = webhook.data
        if webhook.mode == "test" or "dead_letter" in webhook.sends:
            continue
        is_sale = webhook.type == "payment.succeeded" and not data["is_update_payment_method"]
        if is_sale and data["total_amount"] > 0:
            paid[data["payment_id"]] = (data["customer"]["customer_id"], data["currency"], data["total_amount"])
        if webhook.type == "refund.succeeded":
            worth = (data["amount"] or 0) if data["is_partial"] else None
            given_back[data["payment_id"]][data["refund_id"]] = (data["currency"], worth)
    totals: dict[str, dict[str, int]] = defaultdict(Counter)
    for payment_id, (customer_id, currency, minor) in paid.items():
        refunds = given_back[payment_id].values()
        full = any(amount is None for _, amount in refunds)
        back = sum(amount or 0 for spoken, amount in refunds if spoken == currency)
        totals[customer_id][currency] += 0 if full else max(0, minor - back)
    return totals


def check_people(world: Any, journey: Any, holds: dict[str, Any]) -> None:
    """The end of the journey, but for what the order decides."""
    people = world.settled(journey)
    decides = journey.order_decides
    for name in decides.get("stand_in", {}).get("people", ()):
        if people.get(name) == NOBODY:
            people.pop(name)
        holds = {other: person for other, person in holds.items() if (other, person) != (name, NOBODY)}
    for name in decides.get("left_behind", {}).get("people", ()):
        people.pop(name, None)
        holds = {other: person for other, person in holds.items() if other != name}
    if "person" in decides:
        ((chosen, person),) = people.items()
        assert chosen in decides["person"]["among"]
        assert [person] == list(holds.values())
    else:
        assert people == holds


def check_events(world: Any, journey: Any, *, again: int = 1) -> None:
    """Every event of the journey, those that the order decides within their bounds, and none beside them.

    Of these another webhook may tell what was told before a crash: `again` is how often.
    """
    told = world.events
    bounds = journey.order_decides.get("events", {})
    for name in told.keys() | journey.holds["events"].keys() | bounds.keys():
        expected = journey.holds["events"].get(name, 0)
        least, most = bounds[name]["between"] if name in bounds else (expected, expected)
        assert least <= told[name] <= most * (again if name in bounds else 1), f"{name}: {told[name]} times"


def check_totals(world: Any, journey: Any, totals: dict[str, dict[str, int]]) -> None:
    """The sums on the profile are those of the bodies."""
    left_behind = journey.order_decides.get("left_behind", {}).get("people", ())
    everybody: Counter[str] = Counter()
    for total in totals.values():
        everybody.update(total)
    for name, person in world.people.items():
        if name in left_behind or name.startswith("test_") or not person["attributes"]:
            continue
        prefix, suffix = "total_spent_", "_minor"
        shown = {
            attribute[len(prefix) : -len(suffix)].upper(): value
            for attribute, value in person["attributes"].items()
            if attribute.startswith(prefix) and attribute.endswith(suffix) and attribute != "total_spent_minor"
        }
        # Under another policy the person has another name, and is all of the journey's customers.
        assert shown == totals.get(name, everybody)


def test_any_order_with_any_repetition_ends_the_same(journey: Any, holdings: Holdings) -> None:
    """Profiles and totals end as the journey says, and each event was sent once."""
    holds, totals = holdings(journey), totals_of(journey)
    for seed in SEEDS:
        with at(seed):
            world = journey.world()
            for webhook in shuffled(journey, seed):
                world.feed(webhook)
            check_people(world, journey, holds)
            check_totals(world, journey, totals)
            check_events(world, journey)
            assert set(world.emitted.values()) == {1}


def crashed(world: Any, webhooks: list[Any], rng: Random) -> None:
    """Feed these, with a crash on the way.

    Outputs were durable up to a webhook, facts up to any record of the changelog, the offset to less.
    """
    written = [0]
    for webhook in webhooks[: rng.randrange(1, len(webhooks) + 1)]:
        world.feed(webhook)
        written.append(len(world.store.changelog))
    durable = rng.randrange(written[-1] + 1)
    acknowledged = rng.randrange(sum(length <= durable for length in written))
    world.crash(world.store.changelog[:durable])
    for webhook in webhooks[acknowledged:]:
        world.feed(webhook)


def test_a_crash_between_outputs_and_facts_ends_the_same(journey: Any, holdings: Holdings) -> None:
    """What was sent twice has the same ids, so that Customer.io takes it once, and nothing is lost."""
    left_behind = journey.order_decides.get("left_behind", {}).get("people", ())
    holds = holdings(journey)
    for seed in SEEDS:
        with at(seed):
            world = journey.world()
            crashed(world, list(journey.webhooks), Random(f"crash {journey.name} {seed}"))
            people = world.settled(journey)
            assert all(people[name] == holds[name] for name in people.keys() | holds.keys() if name not in left_behind)
            assert world.events == journey.holds["events"]


def test_a_crash_in_disorder_tells_what_the_disorder_told(journey: Any) -> None:
    """Reading some webhooks again after a crash tells nothing else, but for what the state learnt too late before."""
    depends = set(journey.order_decides.get("events", {}))
    for seed in SEEDS:
        with at(seed):
            webhooks = shuffled(journey, seed)
            undisturbed, world = journey.world(), journey.world()
            for webhook in webhooks:
                undisturbed.feed(webhook)
            crashed(world, webhooks, Random(f"crash {seed}"))
            before = {event.id: event.name for event in undisturbed.workspace.events}
            told = {event.id: event.name for event in world.workspace.events}
            assert {(before | told)[id_] for id_ in before.keys() ^ told.keys()} <= depends
            check_events(world, journey, again=2)


def test_the_state_is_the_changelogs(journey: Any) -> None:
    """What a restore reads from the changelog decides like the state that wrote it, with no summary kept."""
    world, restored = journey.world(), journey.world()
    for webhook in journey.webhooks:
        restored.crash(world.store.changelog)
        expected = world.feed(webhook)
        assert restored.feed(webhook) == expected
