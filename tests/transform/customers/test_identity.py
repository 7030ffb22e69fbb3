"""Who a customer is: what each delivery confirms."""

from __future__ import annotations

from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from pipeline.transform.customers import identity

WORDS = st.none() | st.sampled_from(["a", "b"])
DELIVERIES = st.tuples(
    st.integers(0, 3),
    st.integers(0, 2),
    st.tuples(WORDS, WORDS, WORDS, WORDS),
    st.dictionaries(st.sampled_from(["k", "l"]), st.sampled_from(["x", "y", 1, True])),
)


def telling(at_s: int, at_ms: int, contact: tuple[str | None, ...], metadata: dict[str, Any]) -> list[Any]:
    """One delivery as an identity of its own."""
    told = identity.empty()
    told[identity.DELIVERED] = at_s
    for place, value in enumerate(contact, identity.EMAIL):
        told[place] = None if value is None else [at_s, at_ms, value]
    told[identity.METADATA] = {name: [at_s, at_ms, value] for name, value in metadata.items()}
    return told


@given(st.lists(DELIVERIES, max_size=5))
def test_confirming_is_merging(deliveries: list[Any]) -> None:
    """The short way gives what the merge gives, and leaves what was there as it was."""
    confirmed, merged = identity.empty(), identity.empty()
    for delivery in deliveries:
        before = orjson.dumps(confirmed)
        following = identity.confirm(confirmed, *delivery)
        assert orjson.dumps(confirmed) == before
        confirmed, merged = following, identity.merge(merged, telling(*delivery))
    assert orjson.dumps(confirmed) == orjson.dumps(merged)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), st.sampled_from(["u_1", "u_2"])), min_size=1))
def test_the_first_person_stays(people: list[tuple[int, int, str]]) -> None:
    """Whoever the customer became first, in whichever order the records come."""
    merged = identity.empty()
    for person in people:
        told = identity.empty()
        told[identity.PERSON] = [*person, "metadata.user"]
        merged = identity.merge(merged, told)
    assert merged[identity.PERSON] == [*min(people), "metadata.user"]


def test_a_confirmation_advances() -> None:
    """The same address, delivered later, outlives another one that was delivered in between."""
    first = identity.confirm(identity.empty(), 10, 0, ("a@example.com",), {})
    again = identity.confirm(first, 30, 0, ("a@example.com",), {})
    assert identity.confirm(again, 20, 0, ("b@example.com",), {})[identity.EMAIL] == [30, 0, "a@example.com"]


def test_what_a_body_does_not_say_stays() -> None:
    """A body without a name takes none away; bodies come without what others have."""
    known = identity.confirm(identity.empty(), 10, 0, ("a@example.com", "Ann", None, "KR"), {"k": "x"})
    later = identity.confirm(known, 20, 0, (None, None, "+15555550142", None), {})
    assert [seen and seen[2] for seen in later[identity.EMAIL : identity.METADATA]] == [
        "a@example.com",
        "Ann",
        "+15555550142",
        "KR",
    ]
    assert later[identity.METADATA] == {"k": [10, 0, "x"]}
    assert later[identity.DELIVERED] == 20


@given(st.lists(DELIVERIES, min_size=1, max_size=6), st.data())
def test_notes_say_what_records_say(deliveries: list[Any], data: st.DataObject) -> None:
    """Whatever rides on payments instead of taking a record of its own is heard again, in any order."""
    now = record = identity.empty()
    notes = []
    for delivery in deliveries:
        following = identity.confirm(now, *delivery)
        if following == now:
            continue
        following[identity.VERSION] += 1
        following[identity.DIGEST] = data.draw(st.none() | st.sampled_from(["aa", "bb"])) or following[identity.DIGEST]
        note = identity.note_of(now, following, delivery[0], delivery[1]) if data.draw(st.booleans()) else None
        if note is None:
            record = following
        else:
            notes.append(note)
        now = following
    assert identity.hear(record, data.draw(st.permutations(notes))) == now


def test_a_note_only_confirms() -> None:
    """A new value, a field that was not known, a person or metadata take a record."""
    known = identity.confirm(identity.empty(), 10, 0, ("a@example.com", None, None, None), {})
    assert identity.note_of(known, identity.confirm(known, 20, 5, ("a@example.com", None, None, None), {}), 20, 5) == [
        20,
        5,
        0,
        None,
        1,
    ]
    for contact, metadata in (
        (("b@example.com", None, None, None), {}),
        (("a@example.com", "Ann", None, None), {}),
        (("a@example.com", None, None, None), {"k": "x"}),
    ):
        assert identity.note_of(known, identity.confirm(known, 20, 5, contact, metadata), 20, 5) is None
    named = [*known]
    named[identity.PERSON] = [20, 5, "cus_1", "customer_id"]
    assert identity.note_of(known, named, 20, 5) is None
