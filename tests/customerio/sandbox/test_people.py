"""People are found by any identifier, and keep what the documented rules say."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.customerio.sandbox.people import People, Person

ID = {"id": "cus_1"}
EMAIL = {"email": "jane@example.com"}
NOW_MS = 1_795_600_000_000


@pytest.fixture
def people() -> People:
    """Nobody yet."""
    return People()


def identified(people: People, identifiers: dict[str, Any], at_s: float = 10, **attributes: Any) -> Person:
    """Identify and return the person, who must exist."""
    person = people.identify(identifiers, attributes, at_s, NOW_MS)
    assert person is not None
    return person


def test_identify_creates_then_updates(people: People) -> None:
    """The second identify of an id changes the same person; other attributes stay."""
    first = identified(people, ID, plan="free", name="Jane")
    assert identified(people, ID, 11, plan="paid") is first
    assert first.attributes == {"plan": "paid", "name": "Jane"}
    assert len(people) == 1


def test_an_older_identify_is_ignored(people: People) -> None:
    """What describes an earlier time changes nothing, whole or in part; the same second counts."""
    person = identified(people, ID, 20, plan="paid")
    identified(people, ID, 19, plan="free", extra=1)
    assert person.attributes == {"plan": "paid"}
    assert people.ignored_as_older == 1
    identified(people, ID, 20, plan="team")
    assert person.attributes == {"plan": "team"}


@given(st.permutations([(at_s, {f"a{at_s % 3}": at_s, "last": at_s}) for at_s in range(1, 6)]))
def test_the_latest_time_wins_in_any_order(identifies: list[tuple[int, dict[str, int]]]) -> None:
    """However identifies arrive, the profile says what the latest said."""
    people = People()
    for at_s, attributes in identifies:
        people.identify(ID, attributes, at_s, NOW_MS)
    person = people.find(ID)
    assert person is not None
    assert person.attributes["last"] == 5


def test_null_removes_an_attribute(people: People) -> None:
    """Null takes an attribute away, an empty text does not."""
    person = identified(people, ID, plan="paid", note="x")
    identified(people, ID, plan=None, note="")
    assert person.attributes == {"note": ""}


def test_a_dotted_name_reaches_into_an_object(people: People) -> None:
    """A dot is a path, as the documentation shows for subscription topics."""
    person = identified(people, ID, prefs={"a": 1})
    dotted = {"prefs.b": 2, "new.inner.leaf": 3, "prefs.a": None, "gone.leaf": None}
    people.identify(ID, dotted, 10, NOW_MS)
    assert person.attributes == {"prefs": {"b": 2}, "new": {"inner": {"leaf": 3}}}


def test_a_person_has_at_most_three_hundred_attributes(people: People) -> None:
    """New attributes above the limit are logged as failed, known ones still change."""
    person = identified(people, ID, **{f"a{i}": i for i in range(300)})
    identified(people, ID, a0="changed", a300=1)
    assert person.attributes["a0"] == "changed"
    assert "a300" not in person.attributes
    assert person.failed_changes == [("a300", "a person has at most 300 attributes")]


def test_update_only_creates_nobody(people: People) -> None:
    """`_update` does nothing when nobody matches, and is no attribute."""
    assert people.identify(ID, {"_update": True, "a": 1}, 10, NOW_MS) is None
    person = identified(people, ID)
    identified(people, ID, _update=True, a=1)
    assert person.attributes == {"a": 1}


def test_nobody_is_created_by_cio_id(people: People) -> None:
    """An unknown `cio_id` is dropped, a known one leads to its person."""
    assert people.identify({"cio_id": "nobody"}, {}, 10, NOW_MS) is None
    assert people.touch({"cio_id": "nobody"}, NOW_MS) is None
    person = identified(people, ID)
    assert people.find({"cio_id": person.cio_id}) is person


def test_an_event_creates_its_person(people: People) -> None:
    """An event of an unknown person makes a profile without an address."""
    person = people.touch(ID, NOW_MS)
    assert person is not None
    assert (person.id, person.email, len(people)) == ("cus_1", None, 1)


def test_ids_have_case_addresses_have_not(people: People) -> None:
    """`A` and `a` are two ids and one address."""
    assert identified(people, {"id": "A"}) is not identified(people, {"id": "a"})
    assert identified(people, {"email": "Jane@Example.com"}) is identified(people, EMAIL)


def test_a_new_id_takes_over_an_address_without_an_id(people: People) -> None:
    """A lead known by address becomes the customer who identifies with it."""
    lead = identified(people, EMAIL, source="landing page")
    customer = identified(people, ID, email="jane@example.com")
    assert customer is lead
    assert (customer.id, customer.attributes) == ("cus_1", {"source": "landing page"})


def test_an_address_belongs_to_one_person(people: People) -> None:
    """A second id with the same address gets a profile without it, and the change is logged as failed."""
    first = identified(people, ID, email="jane@example.com")
    second = identified(people, {"id": "cus_2"}, email="jane@example.com", plan="paid")
    assert second is not first
    assert second.email is None
    assert second.attributes == {"plan": "paid"}
    assert second.failed_changes == [("email", "belongs to another person")]
    assert people.find(EMAIL) is first


@pytest.mark.parametrize("allowed", [True, False])
def test_an_address_changes_by_id_only_where_allowed(allowed: bool) -> None:
    """Without the workspace's setting a changed address is silently ignored."""
    people = People(email_updates=allowed)
    person = identified(people, ID, email="old@example.com")
    identified(people, ID, email="new@example.com")
    assert person.email == ("new@example.com" if allowed else "old@example.com")
    assert (people.find({"email": "new@example.com"}) is person) is allowed
    assert (people.find({"email": "old@example.com"}) is person) is not allowed
    assert bool(person.failed_changes) is not allowed


def test_a_null_address_is_erased(people: People) -> None:
    """Sending null for the address loses it: the pitfall is shown, not hidden."""
    person = identified(people, ID, email="jane@example.com")
    identified(people, ID, email=None)
    assert person.email is None
    assert people.find(EMAIL) is None


def test_delete_then_recreate(people: People) -> None:
    """A deleted person is gone with all identifiers, and may come back as new."""
    person = identified(people, ID, email="jane@example.com", plan="paid")
    people.delete(EMAIL)
    assert people.find(ID) is None
    assert people.find({"cio_id": person.cio_id}) is None
    people.delete(ID)
    assert identified(people, ID).attributes == {}


def test_suppress_blocks_every_identifier(people: People) -> None:
    """After suppression neither id nor address counts, until it is lifted."""
    identified(people, ID, email="jane@example.com")
    people.suppress(ID)
    assert len(people) == 0
    assert people.is_suppressed(ID)
    assert people.is_suppressed(EMAIL)
    assert {"id": "cus_1"} in people.suppressed()
    people.unsuppress(ID)
    assert not people.is_suppressed(ID)
    assert people.is_suppressed(EMAIL)


def test_merge_moves_everything(people: People) -> None:
    """The primary keeps its own values and gains the rest; the secondary is gone."""
    primary = identified(people, ID, plan="paid")
    secondary = identified(people, EMAIL, plan="free", source="ad")
    secondary.events = 2
    people.merge(ID, EMAIL)
    assert primary.attributes == {"plan": "paid", "source": "ad"}
    assert (primary.email, primary.events, len(people)) == ("jane@example.com", 2, 1)
    assert people.find(EMAIL) is primary


@pytest.mark.parametrize(("primary", "secondary"), [({"id": "no"}, ID), (ID, {"id": "no"}), (ID, ID)])
def test_merge_with_nobody_does_nothing(people: People, primary: dict[str, str], secondary: dict[str, str]) -> None:
    """The primary must exist; a merge with nobody or oneself changes nothing."""
    person = identified(people, ID, plan="paid")
    people.merge(primary, secondary)
    assert people.find(ID) is person
    assert person.attributes == {"plan": "paid"}


def test_attributes_that_are_identifiers(people: People) -> None:
    """`id` and `phone` among the attributes fill what the person lacks, and change nothing that is there."""
    person = identified(people, EMAIL, id="cus_9", phone="+821012345678")
    assert (person.id, person.phone) == ("cus_9", "+821012345678")
    identified(people, EMAIL, id="cus_10", phone=" ")
    assert (person.id, person.phone) == ("cus_9", "+821012345678")
