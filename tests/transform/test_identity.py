"""Who a person is: the chain, its stickiness, and test people apart."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from pipeline.transform.identity import passed_over, person_of
from pipeline.transform.profile import Contact, Person, Profile

CUSTOMER = {
    "customer_id": "cus_1",
    "email": " Jiwoo.Han@Example.com ",
    "metadata": {"user_id": "u_1", "number": 7, "flag": True},
}
DATA = {"metadata": {"order": "o_1", "user_id": "u_object"}}


def known(
    person: Person | None = None, contact: Contact | None = None, metadata: dict[str, Any] | None = None
) -> Profile:
    """A state that knows just this: whatever else identity asked of it would fail the test."""
    facts = SimpleNamespace(person=person, contact=contact or Contact(), metadata=metadata or {})
    return cast("Profile", facts)


@pytest.mark.parametrize(
    ("chain", "person"),
    [
        (("customer_id",), Person("cus_1", "customer_id")),
        (("email",), Person("jiwoo.han@example.com", "email")),
        (("metadata.user_id",), Person("u_1", "metadata.user_id")),
        (("metadata.order",), Person("o_1", "metadata.order")),
        (("metadata.number",), Person("7", "metadata.number")),
        (("metadata.flag", "email"), Person("jiwoo.han@example.com", "email")),
        (("metadata.missing", "customer_id"), Person("cus_1", "customer_id")),
        (("metadata.missing",), None),
    ],
)
def test_the_first_hit_of_the_chain_wins(chain: tuple[str, ...], person: Person | None) -> None:
    """The customer's metadata before the object's; a full body without a hit is nobody."""
    assert person_of(chain, CUSTOMER, DATA) == person


@pytest.mark.parametrize("chain", [("email",), ("metadata.user_id",), ("email", "metadata.user_id")])
def test_a_body_with_the_id_alone_goes_by_the_id(chain: tuple[str, ...]) -> None:
    """It cannot follow the chain; `step` says that no step gave it."""
    assert person_of(chain, {}, {"customer_id": "cus_1"}) == Person("cus_1", None, settles=False)
    assert person_of(chain, {"customer_id": "cus_1"}, {}) == Person("cus_1", None, settles=False)


@pytest.mark.parametrize("customer_id", [None, "", "  ", True, [], {}, "x" * 151])
def test_without_a_usable_id_nobody_is_meant(customer_id: Any) -> None:
    """Customer.io takes 1 to 150 bytes."""
    assert person_of(("customer_id",), {"customer_id": customer_id}, {}) is None


def test_an_id_too_long_gives_way_to_the_next_step() -> None:
    """A chain is there to have a next step."""
    customer = {"customer_id": "cus_1", "metadata": {"user_id": "가" * 51}}
    assert person_of(("metadata.user_id", "customer_id"), customer, {}) == Person("cus_1", "customer_id")


@pytest.mark.parametrize(
    ("chain", "id_"),
    [(("customer_id",), "test_cus_1"), (("email",), "test_cus_1"), (("metadata.user_id",), "test_u_1")],
)
def test_test_people_are_prefixed_and_have_no_address(chain: tuple[str, ...], id_: str) -> None:
    """A live person may have the same address; the prefix keeps the rest apart."""
    person = person_of(chain, CUSTOMER, DATA, mode="test")
    assert person is not None
    assert person.id == id_
    assert person.step != "email"


def test_the_prefix_counts_into_the_length() -> None:
    """150 bytes with it, not before it."""
    assert person_of(("customer_id",), {"customer_id": "x" * 146}, {}, mode="test") is None
    assert person_of(("customer_id",), {"customer_id": "x" * 145}, {}, mode="test") is not None


def test_what_the_state_chose_stays() -> None:
    """One customer never becomes two people because one body has, or lacks, a key."""
    profile = known(person=Person("u_1", "metadata.user_id"))
    assert (
        person_of(("metadata.user_id", "customer_id"), {"customer_id": "cus_1"}, {}, profile=profile) == profile.person
    )
    other = {"customer_id": "cus_1", "metadata": {"user_id": "u_2"}}
    assert person_of(("metadata.user_id", "customer_id"), other, {}, profile=profile) == profile.person


def test_under_the_email_rule_the_address_follows_the_customer() -> None:
    """The step is sticky, the address is the latest: the state's, which has the body's unless it is older."""
    profile = known(person=Person("old@example.com", "email"), contact=Contact(email="Known@example.com", name="Han"))
    late = person_of(("email",), {"email": "Older@example.com"}, {}, profile=profile)
    assert late == Person("known@example.com", "email")
    assert person_of(("email",), {}, {"customer_id": "c"}, profile=profile) == Person("known@example.com", "email")
    nothing = known(person=Person("old@example.com", "email"))
    assert person_of(("email",), {}, {"customer_id": "c"}, profile=nothing) == nothing.person


def test_the_state_helps_a_body_with_the_id_alone() -> None:
    """Address and metadata that earlier webhooks brought resolve the chain."""
    profile = known(contact=Contact(email="Han@example.com"), metadata={"user_id": "u_1"})
    by_id = {"customer_id": "cus_1"}
    assert person_of(("email",), {}, by_id, profile=profile) == Person("han@example.com", "email")
    assert person_of(("metadata.user_id",), {}, by_id, profile=profile) == Person("u_1", "metadata.user_id")


def test_test_mode_never_looks_at_the_state() -> None:
    """Live facts are no test person's."""
    profile = known(person=Person("u_1", "customer_id"), metadata={"user_id": "u_1"})
    assert person_of(("metadata.user_id",), {"customer_id": "cus_1"}, {}, mode="test", profile=profile) == Person(
        "test_cus_1", None, settles=False
    )


def test_a_body_with_the_id_alone_settles_nothing() -> None:
    """Neither by the id, when the chain has a better step, nor by the object's own metadata."""
    chain = ("metadata.user_id", "customer_id")
    by_id = {"customer_id": "cus_1"}
    assert person_of(chain, {}, by_id) == Person("cus_1", None, settles=False)
    assert person_of(chain, {}, {**by_id, **DATA}) == Person("u_object", "metadata.user_id", settles=False)
    assert person_of(chain, {**by_id, "email": None}, {}) == Person("cus_1", "customer_id")
    assert person_of(("customer_id", "email"), {}, by_id) == Person("cus_1", "customer_id")


@pytest.mark.parametrize(
    "profile",
    [known(contact=Contact(email="a@example.com")), known(contact=Contact(name="A")), known(metadata={"k": "v"})],
)
def test_what_was_known_before_settles(profile: Profile) -> None:
    """Dodo's API, or a body before, told who the customer is: then the chain's next step is the one."""
    chain = ("metadata.user_id", "customer_id")
    assert person_of(chain, {}, {"customer_id": "cus_1"}, profile=profile) == Person("cus_1", "customer_id")


def test_a_country_alone_settles_nothing() -> None:
    """It comes from the bill, not from the customer object."""
    profile = known(contact=Contact(country="KR"))
    person = person_of(("metadata.user_id", "customer_id"), {}, {"customer_id": "cus_1"}, profile=profile)
    assert person == Person("cus_1", None, settles=False)


@pytest.mark.parametrize("value", ["undefined", "NULL", 0, "[object Object]", True, "\u200b", ""])
def test_a_placeholder_is_no_id(value: Any) -> None:
    """The next source, and then the next step of the chain decides."""
    customer = {"customer_id": "cus_1", "metadata": {"user_id": value}}
    assert person_of(("metadata.user_id", "customer_id"), customer, {}) == Person("cus_1", "customer_id")
    assert person_of(("metadata.user_id", "customer_id"), customer, DATA) == Person("u_object", "metadata.user_id")
    profile = known(metadata={"user_id": "u_1"})
    assert person_of(("metadata.user_id",), customer, {}, profile=profile) == Person("u_1", "metadata.user_id")
    assert passed_over(("metadata.user_id", "customer_id"), customer, {}) == "metadata.user_id"


def test_what_passed_nothing_over() -> None:
    """A key that is missing or null is no value that somebody should look at."""
    for metadata in (None, {}, {"user_id": None}, {"user_id": "u_1"}, {"other": "null"}):
        assert passed_over(("metadata.user_id", "email"), {"metadata": metadata}, {}) is None


@pytest.mark.parametrize("kept", ["u\u0000_1", "cafe\u0301", "customer-0"])
def test_an_id_of_the_state_stays_as_it_was_sent(kept: str) -> None:
    """Nobody is moved to another person because ids are written better now."""
    profile = known(person=Person(kept, "metadata.user_id"))
    customer = {"customer_id": "cus_1", "metadata": {"user_id": kept}}
    assert person_of(("metadata.user_id", "customer_id"), customer, {}, profile=profile) == profile.person


def test_a_placeholder_of_the_state_gives_way() -> None:
    """Versions before took it for an id, and strangers for one person."""
    profile = known(person=Person("undefined", "metadata.user_id"), contact=Contact(email="a@example.com"))
    by_id = {"customer_id": "cus_1"}
    assert person_of(("metadata.user_id", "customer_id"), {}, by_id, profile=profile) == Person("cus_1", "customer_id")
    named = known(person=Person("undefined", "customer_id"))
    assert person_of(("metadata.user_id", "customer_id"), {}, by_id, profile=named) == named.person
