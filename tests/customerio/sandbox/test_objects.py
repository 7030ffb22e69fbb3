"""Objects and relationships are kept as Customer.io keeps them."""

from __future__ import annotations

from typing import Any

from pipeline.customerio.sandbox.objects import Objects

ACME = {"object_type_id": "1", "object_id": "acme"}
BY_CIO_ID = {"cio_object_id": "obb7fd050101"}
ANN, BOB = {"identifiers": {"id": "ann"}}, {"identifiers": {"id": "bob"}}


def operation(identifiers: dict[str, str], action: str = "identify", **more: Any) -> dict[str, Any]:
    """One about an object."""
    return {"type": "object", "identifiers": identifiers, "action": action, **more}


def test_attributes_are_merged_and_emptied() -> None:
    """Later attributes join earlier ones; null and an empty text take one away."""
    objects = Objects()
    objects.apply(operation(ACME, attributes={"plan": "pro", "city": "Seoul", "seats": 3}))
    objects.apply(operation(ACME, attributes={"plan": None, "city": "", "seats": 4}))
    assert [one["attributes"] for one in objects.as_json()] == [{"seats": 4}]


def test_customer_io_s_own_id_creates_nothing() -> None:
    """An operation by `cio_object_id` can only update, so one for an unknown object does nothing."""
    objects = Objects()
    objects.apply(operation(BY_CIO_ID, attributes={"plan": "pro"}))
    assert objects.as_json() == []


def test_relationships_are_added_replaced_and_taken_away() -> None:
    """One relationship a person, the latest; those that are named are removed, and the object with `delete`."""
    objects = Objects()
    objects.apply(operation(ACME, cio_relationships=[ANN, BOB]))
    owner = ANN | {"relationship_attributes": {"role": "owner"}}
    objects.apply(operation(ACME, "add_relationships", cio_relationships=[owner]))
    assert objects.as_json()[0]["relationships"] == [BOB, owner]
    objects.apply(operation(ACME, "delete_relationships", cio_relationships=[BOB]))
    assert objects.as_json()[0]["relationships"] == [owner]
    objects.apply(operation(ACME, "delete"))
    assert objects.as_json() == []
