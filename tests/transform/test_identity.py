"""Who a person is: the chain, its stickiness, and test people apart."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from pipeline.transform.identity import person_of
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
    assert person_of(chain, {}, {"customer_id": "cus_1"}) == Person("cus_1", None)
    assert person_of(chain, {"customer_id": "cus_1"}, {}) == Person("cus_1", None)


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
        "test_cus_1", None
    )
