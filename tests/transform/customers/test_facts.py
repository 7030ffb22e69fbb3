"""Two tellings of a fact become one, and keys lead to it."""

from __future__ import annotations

from itertools import permutations
from typing import Any, get_args

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.statestore.changes import BEGAN
from pipeline.transform.customers import facts
from pipeline.transform.customers.facts import (
    MAX_CUSTOMER_BYTES,
    Kind,
    customer_key,
    key,
    merge,
    merge_at,
    prefix,
    split,
)
from pipeline.transform.customers.shape import MAX_OBSERVATIONS

MOMENTS = st.tuples(st.integers(0, 3), st.integers(0, 2))
TIMES = st.sampled_from(
    ["2026-03-01T00:00:00Z", "2026-03-01T00:00:00.000Z", "2026-03-02T09:00:00+09:00", "2026-03-05T00:00:00Z"]
)
SOURCES = st.sampled_from(["webhook", "api"])
WORDS = st.sampled_from(["a", "b", "ü"])
IDS = st.sampled_from(["msg_1", "msg_2", "msg_3"])
NOTES = st.none() | st.tuples(
    st.integers(0, 2), st.just(0), st.integers(1, 2), st.sampled_from(["aa", "bb"]), st.integers(0, 2)
).map(list)
MINOR = st.none() | st.integers(0, 3)
CURRENCY = st.none() | st.sampled_from(["USD", "JPY"])
SEEN = st.none() | st.tuples(st.integers(0, 3), st.integers(0, 2), WORDS).map(list)


def fact(*parts: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    """An array of these parts, as it comes out of JSON."""
    return st.tuples(*parts).map(lambda found: orjson.loads(orjson.dumps(found)))


TURNS = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from(["active", "on_hold", "answered", "cancelled"])).map(list), max_size=2
)
TRIAL = st.sampled_from([[None, None], [5, None], [None, "2026-03-01T00:00:00Z"]])
NEWER = st.just([]) | TRIAL | st.builds(lambda trial, turns, days: [*trial, turns, days], TRIAL, TURNS, st.just(14))
"""What this version tells beyond earlier ones."""


def subscription() -> st.SearchStrategy[list[Any]]:
    """One telling of a subscription, also of the version without trials: its plan is seen at its own moment."""
    return st.builds(
        lambda at, status, product, minor, newer: [
            *at, status, None, False, 0, [[*at, product, minor, "USD", "Month", 1]], *newer,
        ],
        MOMENTS,
        st.sampled_from(["active", "on_hold"]),
        WORDS,
        st.integers(0, 1),
        NEWER,
    )  # fmt: skip


def charge() -> st.SearchStrategy[list[Any]]:
    """One telling of a charge, of something or of nothing; an earlier version's is of something."""
    charged = st.tuples(st.integers(0, 9), IDS, st.none() | st.just("renewal")).map(list)
    now = st.builds(lambda one, paid: [[one], []] if paid else [[], [one]], charged, st.booleans())
    return now | st.tuples(st.integers(0, 9), IDS).map(list)


def observation() -> st.SearchStrategy[list[Any]]:
    """One telling of a cancellation flag."""
    return st.builds(
        lambda at, flag, id_: [[*at, flag, id_]], st.tuples(st.integers(0, 20), st.just(0)), st.booleans(), IDS
    )


PERSON = st.none() | st.tuples(st.integers(0, 3), st.integers(0, 2), WORDS, st.just("email")).map(list)
METADATA = st.dictionaries(
    WORDS, st.tuples(st.integers(0, 3), st.just(0), WORDS | st.integers(-3, 3) | st.booleans()).map(list)
)

TELLINGS: dict[Kind, st.SearchStrategy[list[Any]]] = {
    "payment": st.builds(
        lambda told, goods: [*told, *goods],
        fact(MINOR, CURRENCY, TIMES, st.none(), st.none() | WORDS, st.booleans(), SOURCES, st.just([]), NOTES),
        st.sampled_from([[], [None], [[[["pdt_1", 1]], []]], [[[], ["sub_1"]]]]),
    ),
    "refund": fact(MINOR, CURRENCY, TIMES, st.none() | st.booleans(), SOURCES),
    "unpaid": st.builds(
        lambda at, id_, minor: [[*at, id_, minor, "USD", [], [], None]],
        MOMENTS, st.sampled_from([f"pay_{number}" for number in range(8)]), MINOR,
    ),
    "charge": charge(),
    "card": fact(st.integers(0, 3), IDS, *[st.none() | WORDS] * 4),
    "subscription": subscription(),
    "trial": st.builds(lambda ends_ms, at_s: [[ends_ms, at_s]], st.integers(0, 7), st.integers(0, 2)),
    "change": st.builds(
        lambda at_s, ms, product: [[at_s, ms, product, 900, "USD", "Month", 1]],
        st.integers(0, 2), st.integers(0, 7), WORDS,
    ),
    "replacement": st.builds(
        lambda ms, id_, by: [[ms, id_, by]], st.integers(0, 9), st.none() | WORDS, st.just("payment")
    ),
    "method": st.builds(lambda at, id_: [*at, id_], MOMENTS, WORDS),
    "activation": fact(st.integers(0, 3), IDS),
    "cancellation": observation(),
    "dispute": fact(TIMES, st.sampled_from(["dispute.lost", "dispute.accepted"])),
    "identity": fact(
        st.integers(0, 3), st.integers(0, 3), st.none() | st.sampled_from(["aa", "bb"]), st.none() | WORDS, PERSON,
        SEEN, SEEN, SEEN, SEEN, METADATA,
    ),
    "event": fact(st.integers(0, 3)),
    "forgotten": fact(st.integers(0, 3)),
    "request": fact(
        st.integers(0, 3), st.lists(WORDS, max_size=8),
        st.lists(fact(st.integers(0, 3), st.none() | WORDS, st.none() | WORDS, WORDS), max_size=8),
    ),
    "shared": fact(st.integers(0, 3), st.none() | WORDS, st.none() | WORDS)
    | fact(st.integers(0, 3), WORDS, WORDS, st.just("id")),
    "share": fact(st.integers(0, 3), st.none() | st.dictionaries(WORDS, WORDS)),
    "person": fact(
        st.integers(0, 3), st.integers(0, 3), st.none() | st.sampled_from(["aa", "bb"]),
        st.lists(WORDS, unique=True).map(sorted),
    ),
    "state": fact(st.integers(0, 3), WORDS),
}  # fmt: skip

KINDS = list(get_args(Kind))


def folded(kind: str, tellings: list[bytes]) -> bytes:
    """All tellings, one after the other."""
    merged = tellings[0]
    for telling in tellings[1:]:
        merged = merge(kind, merged, telling)
    return merged


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_order_and_repetition_do_not_matter(kind: Kind, data: st.DataObject) -> None:
    """Commutative, associative, idempotent: byte for byte the same fact from the same set of tellings."""
    told = [facts.encode(telling) for telling in data.draw(st.lists(TELLINGS[kind], min_size=2, max_size=3))]
    first, *others = (folded(kind, list(order)) for order in permutations(told))
    assert set(others) <= {first}
    assert folded(kind, told + told) == first
    assert merge(kind, first, first) == first
    split_ = data.draw(st.integers(1, len(told) - 1))
    assert merge(kind, folded(kind, told[:split_]), folded(kind, told[split_:])) == first


@given(st.lists(observation(), min_size=9, max_size=14, unique_by=lambda told: told[0][0]), st.randoms())
def test_only_the_latest_observations_are_kept(observations: list[list[Any]], rng: Any) -> None:
    """A subscription that changes for years does not grow for years, and which ones are kept is no matter of order."""
    told = [facts.encode(observation) for observation in observations]
    rng.shuffle(told)
    kept = facts.decode("cancellation", folded("cancellation", told))
    latest = sorted((observation[0] for observation in observations), key=lambda seen: seen[0])
    assert kept == latest[-MAX_OBSERVATIONS:]


@given(st.lists(subscription(), min_size=1, max_size=6))
def test_a_subscription_is_its_latest_state_with_the_two_latest_plans(told: list[list[Any]]) -> None:
    """The state by moment; of the plans the two that were seen last."""
    merged = facts.decode("subscription", folded("subscription", [facts.encode(telling) for telling in told]))
    assert merged is not None
    moments = [(telling[0], telling[1]) for telling in told]
    assert (merged[0], merged[1]) == max(moments)
    seen: dict[bytes, tuple[int, int]] = {}
    for telling in told:
        terms = facts.encode(telling[6][0][2:])
        seen[terms] = max(seen.get(terms, (-1, -1)), (telling[0], telling[1]))
    assert [tuple(plan[:2]) for plan in merged[6]] == sorted(seen.values(), reverse=True)[:2]


def test_a_in_this_form_an_earlier_version_is_read_on() -> None:
    """Its lapse is unanswered, its end stands, and the first telling of this version brings it into this form."""
    plan = [1, 1000, "pdt", 2900, "USD", "Month", 1]
    held, ended = ([9, 1000, status, None, False, 0, [plan]] for status in ("on_hold", "cancelled"))
    assert facts.checked("subscription", facts.encode(held)) == held
    assert facts.in_this_form(held)[7:] == [None, None, [[1000, "on_hold"]], 0]
    assert facts.in_this_form([*ended, 7, "2026"])[7:] == [7, "2026", [[9000, "cancelled"]], 0]
    now = [10, 10_000, "active", None, False, 0, [plan], 5, None, [[10_000, "active"]], 14]
    assert facts.merge_facts("subscription", held, now) == [*now[:9], [[1000, "on_hold"], [10_000, "active"]], 14]
    assert facts.checked("subscription", facts.encode([*now[:9], [[1, "unheard of"]], 0])) is None


def test_a_charge_of_an_earlier_version_is_read_on() -> None:
    """It kept the first above 0 alone, without its type."""
    assert facts.charges_of([5, "pay_1"]) == [[[5, "pay_1", None]], []]
    later = facts.merge_facts("charge", [5, "pay_1"], [[[9, "pay_2", "renewal"]], []])
    assert later == [[[5, "pay_1", None], [9, "pay_2", "renewal"]], []]


def test_the_ends_of_a_trial_that_were_seen_last_are_kept() -> None:
    """However near they are; which ones is no matter of order, and a mark looks at when the last was seen."""
    told = [[[30 - number % 6, number]] for number in range(8)]
    kept = [[26, 4], [25, 5], [30, 6], [29, 7]]
    for tellings in (told, told[::-1]):
        assert facts.decode("trial", folded("trial", [facts.encode(telling) for telling in tellings])) == kept
    assert not facts.is_before("trial", kept, 5)
    assert facts.is_before("trial", kept, 6)


def test_a_webhook_knows_better_than_a_backfill() -> None:
    """The API tells when a payment was created, the webhook when it succeeded, and that it was told."""
    api = facts.encode([100, "USD", "2026-03-01T00:00:00Z", None, None, False, "api", [], None, None])
    webhook = facts.encode([100, "USD", "2026-03-01T00:00:09Z", "new", "card", False, "webhook", [], None, None])
    assert merge("payment", api, webhook) == merge("payment", webhook, api) == webhook


@pytest.mark.parametrize("broken", [b"", b"not json", b"{}", b"[1]", b"null", b'"x"'])
def test_what_cannot_be_read_gives_way(broken: bytes) -> None:
    """A foreign record under a fact's key hides no fact."""
    fact_ = facts.encode([100, "USD", "2026-03-01T00:00:00Z", None, None, False, "webhook", [], None])
    assert merge("payment", broken, fact_) == merge("payment", fact_, broken) == fact_
    assert facts.decode("payment", broken) is None


def test_kinds_of_a_newer_version_are_kept() -> None:
    """Whatever it means, all workers keep the same one: the one that lies later in the topic."""
    for old, new in ((b"[10]", b"[9]"), (b"[9]", b"[10]"), (b"[9]", b"{}"), (b"{}", b"[9]")):
        assert merge("later", old, new) == new
        assert merge_at(b"cus_1\0later\0x", old, new) == new
        assert merge_at(b"no key of ours", old, new) == new


def test_keys_lead_back() -> None:
    """Customer, kind and id; the id may have a NUL of its own, between a payment and its refund."""
    assert key(b"cus_1", "payment", "pay_1") == b"cus_1\0payment\0pay_1"
    assert split(key(b"cus_1", "refund", "pay_1", "ref_1")) == (b"cus_1", "refund", "pay_1\0ref_1")
    assert key(b"cus_1", "identity", "") == facts.identity_key(b"cus_1") == b"cus_1\0identity\0"
    assert split(BEGAN) == (b"", "state", "began")
    assert split(b"odd") == (b"odd", "", "")


@given(st.text(), st.text(), st.text())
def test_refunds_of_one_payment_lie_together(customer: str, payment: str, other: str) -> None:
    """Their keys begin with the payment's, and no other payment's do."""
    begins = prefix(b"c", "refund", payment or "p")
    assert key(b"c", "refund", payment or "p", customer).startswith(begins)
    if facts.short(other or "q") != facts.short(payment or "p"):
        assert not key(b"c", "refund", other or "q", customer).startswith(begins)


@given(st.text(max_size=300), st.text(max_size=300), st.text(max_size=300))
def test_no_key_is_too_long_for_a_store(customer: str, one: str, other: str) -> None:
    """LMDB takes 511 bytes; whoever has no key has no state."""
    encoded = customer_key(customer)
    if encoded is None:
        assert not customer or "\0" in customer or len(customer.encode()) > MAX_CUSTOMER_BYTES
        return
    for kind in KINDS:
        made = key(encoded, kind, one, other)
        assert len(made) <= 511
        assert split(made)[:2] == (encoded, kind)


def test_a_in_this_form_the_former_version_is_read_on() -> None:
    """Its seven elements say nothing of a trial; merged with a telling of now it has all, in either order."""
    former = b'[1,1000,"active","2026-04-01T00:00:00Z",false,5,[[1,1000,"pdt_1",2900,"USD","Month",1]]]'
    now = b'[2,2000,"active","2026-04-01T00:00:00Z",false,5,[[2,2000,"pdt_1",2900,"USD","Month",1]],7,null,[],14]'
    assert facts.checked("subscription", former) is not None
    assert merge("subscription", former, now) == merge("subscription", now, former) == now
    later = now.replace(b"[2,2000", b"[0,500")
    merged = facts.decode("subscription", merge("subscription", former, later))
    assert merged is not None
    assert merged[:2] == [1, 1000]
    assert merged[7:] == [None, None, [], 0]


def test_a_payment_of_the_former_version_is_read_on() -> None:
    """Its nine elements say nothing of goods; told again it has them, and is the same payment."""
    former = b'[100,"USD","2026-03-01T00:00:00Z","new","card",false,"webhook",[],null]'
    now = b'[100,"USD","2026-03-01T00:00:00Z","new","card",false,"webhook",[],null,[[["pdt_1",2]],[]]]'
    assert facts.checked("payment", former) is not None
    assert merge("payment", former, now) == merge("payment", now, former) == now


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 30)), min_size=1, max_size=14), st.randoms())
def test_only_the_last_unpaid_payments_are_kept(seen: list[tuple[int, int]], rng: Any) -> None:
    """Each payment once, as it was seen last, and never more than five."""
    told = [facts.encode([[at, 0, f"pay_{payment}", at, None, [], [], None]]) for payment, at in seen]
    rng.shuffle(told)
    kept = facts.decode("unpaid", folded("unpaid", told))
    assert kept is not None
    latest: dict[str, int] = {}
    for payment, at in seen:
        latest[f"pay_{payment}"] = max(at, latest.get(f"pay_{payment}", 0))
    expected = sorted((at, payment) for payment, at in latest.items())[-5:]
    assert [(entry[0], entry[2]) for entry in kept] == expected
