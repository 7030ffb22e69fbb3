"""Under which ids and addresses a customer's operations went out."""

from __future__ import annotations

import orjson
import pytest

from pipeline.transform.customers import identity
from pipeline.transform.customers.people import Customers, People
from pipeline.transform.customers.requests import digest_of


def known(**fields: object) -> bytes:
    """An identity fact."""
    fact = identity.empty()
    for name, value in fields.items():
        fact[getattr(identity, name)] = value
    return orjson.dumps(fact)


ADDRESS = [5, 5, "Jane@example.com"]


@pytest.mark.parametrize(
    ("kind", "value", "theirs", "not_theirs"),
    [
        ("identity", known(PERSON=[5, 5, "u_7", "metadata.user"], EMAIL=ADDRESS), "u_7", "jane@example.com"),
        ("identity", known(PERSON=[5, 5, "old@example.com", "email"], EMAIL=ADDRESS), "jane@example.com", "u_7"),
        ("identity", known(PERSON=[5, 5, "old@example.com", "email"]), "Old@example.com", "jane@example.com"),
        ("identity", known(DIGEST="9" * 32, TO="cus_stand_in"), "cus_stand_in", "u_7"),
        ("shared", orjson.dumps([5, "jane@example.com", "9" * 32]), "JANE@example.com", "u_7"),
        ("request", orjson.dumps([5, [], [[5, None, None, digest_of("u_6")]]]), "u_6", "u_7"),
        ("identity", b'["x"]', "cus_1", "x"),
        ("payment", b"[]", "cus_1", "u_7"),
    ],
)
def test_who_they_are(kind: str, value: bytes, theirs: str, not_theirs: str) -> None:
    """Whoever an operation of theirs may address; an address that names nobody may be another customer's, too."""
    people = People("cus_1")
    people.hear(b"cus_1\0" + kind.encode() + b"\0", value)
    people.hear(b"cus_1\0" + kind.encode() + b"\0", None)  # forgotten since: what was theirs still is
    people.hear(b"cus_10\0identity\0", known(PERSON=[5, 5, not_theirs, "metadata.user"]))
    people.hear(None, value)
    assert people.have(frozenset({"somebody", theirs}))
    assert people.have(frozenset({"cus_1"}))
    assert not people.have(frozenset({not_theirs, "cus_10"}))


U_7 = known(PERSON=[5, 5, "u_7", "metadata.user"], EMAIL=ADDRESS)
REQUEST_OF_U_7 = orjson.dumps([5, [], [[5, "metadata.user", "u_7", digest_of("u_7")]]])
BY_ADDRESS = known(PERSON=[5, 5, "old@example.com", "email"], EMAIL=ADDRESS)


def test_which_customers_a_person_is() -> None:
    """By the id or the address that addresses them now: not by a contact, a former address, or a part of an id.

    Who came back after a request counts among those who are.
    """
    records: list[tuple[str, bytes | None]] = [
        ("cus_1\0identity\0", U_7),
        ("cus_2\0identity\0", BY_ADDRESS),
        ("cus_3\0shared\0", orjson.dumps([5, "jane@example.com", "9" * 32])),
        ("cus_4\0identity\0", BY_ADDRESS),
        ("cus_4\0identity\0", known(PERSON=[5, 5, "old@example.com", "email"], EMAIL=[9, 9, "new@example.com"])),
        ("cus_5\0identity\0", U_7),
        ("cus_5\0identity\0", None),
        ("cus_5\0request\0", REQUEST_OF_U_7),
        ("cus_1\0request\0", REQUEST_OF_U_7),
        ("cus_6\0identity\0", known(TO="cus_6", DIGEST="9" * 32)),
        ("cus_1\0payment\0p", b"[]"),
    ]

    def asked(person: str) -> tuple[list[str], list[str]]:
        customers = Customers(person)
        for key, value in [*records, (None, b"")]:
            customers.hear(None if key is None else key.encode(), value)
        return customers.now, customers.forgotten

    assert asked("u_7") == (["cus_1"], ["cus_5"])
    assert asked("U_7") == ([], [])
    assert asked("Jane@Example.com") == (["cus_2", "cus_3"], [])
    assert asked("old@example.com") == ([], [])
    assert asked("cus_6") == (["cus_6"], [])
    assert asked("cus_") == ([], [])
