"""A link to the customer's own account leads nowhere else."""

from __future__ import annotations

from string import Formatter
from urllib.parse import unquote, urlsplit

from hypothesis import given
from hypothesis import strategies as st

from pipeline.transform.portal import portal_link

TEMPLATE = "https://shop.example.com/{business_id}/account/{customer_id}"


def test_the_ids_are_filled_in() -> None:
    """Those that the template asks for, whatever else is known."""
    ids = {"business_id": "bus_1", "customer_id": "cus_1", "subscription_id": None}
    assert portal_link(TEMPLATE, ids) == "https://shop.example.com/bus_1/account/cus_1"  # type: ignore[arg-type]


def test_no_link_without_an_id_that_it_asks_for() -> None:
    """Rather none than one that is broken; a template without ids is the link."""
    assert portal_link(TEMPLATE, {"business_id": "bus_1", "customer_id": None}) is None
    assert portal_link("https://shop.example.com/account", {}) == "https://shop.example.com/account"
    assert [name for _, name, _, _ in Formatter().parse(TEMPLATE) if name] == ["business_id", "customer_id"]


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_no_id_changes_the_address(customer_id: str) -> None:
    """It stays one step of the path, byte for byte."""
    link = portal_link("https://shop.example.com/a/{customer_id}", {"customer_id": customer_id})
    assert link is not None
    parts = urlsplit(link)
    assert (parts.scheme, parts.netloc, parts.query, parts.fragment) == ("https", "shop.example.com", "", "")
    assert parts.path.split("/")[:2] == ["", "a"]
    assert unquote(parts.path.removeprefix("/a/")) == customer_id
    assert "/" not in parts.path.removeprefix("/a/")
