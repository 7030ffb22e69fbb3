"""Addresses and names as bodies bring them: what the profile and the event have, whom it names, and what is counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from pipeline.dodo import samples
from pipeline.transform.mapping.webhook import map_body
from pipeline.transform.policy import Policy
from pipeline.transform.verdicts import Delivery, Operations

DATA = Path(__file__).parents[2] / "data" / "contact"
DELIVERY = Delivery("msg_1", attempt_at_s=1_792_660_383)


def cases(name: str) -> list[Any]:
    """A file's cases."""
    return [pytest.param(case, id=ascii(case["body"])) for case in yaml.safe_load((DATA / name).read_text("utf-8"))]


def mapped(policy: Policy, **customer: Any) -> tuple[Operations, dict[str, Any], dict[str, Any]]:
    """What a payment of such a customer becomes: the verdict, the identify's attributes and the event's."""
    body = orjson.loads(samples.load("payment.succeeded"))
    body["data"]["customer"] |= customer
    verdict = map_body(orjson.dumps(body), DELIVERY, policy)
    assert isinstance(verdict, Operations)
    identify, event = (orjson.loads(operation.body)["attributes"] for operation in verdict.operations)
    return verdict, identify, event


@pytest.mark.parametrize("case", cases("addresses.yaml"))
def test_addresses(case: dict[str, Any]) -> None:
    """The address goes out clean or not at all, and what was done to it is counted."""
    verdict, identify, event = mapped(Policy(), email=case["body"])
    assert identify.get("email") == event.get("email") == case["sent"]
    told = {"trimmed-address", "unusable-contact"} & set(verdict.notes)
    assert told == ({case["note"]} if "note" in case else set())
    body = case["body"]
    assert not (body and any(body in warning for warning in verdict.warnings)), "a warning quotes the body"


@pytest.mark.parametrize("case", cases("addresses.yaml"))
def test_people_by_their_address(case: dict[str, Any]) -> None:
    """What is no address is nobody: the id stands in. Capitals and invisible characters are no difference."""
    verdict, _, _ = mapped(Policy(person_id_chain=("email",)), email=case["body"])
    operation = orjson.loads(verdict.operations[0].body)
    if case["sent"] is None:
        assert operation["identifiers"] == {"id": "cus_0NExampleCustomer0001"}
        assert verdict.identified_by is None
    else:
        assert operation["identifiers"] == {"email": case["sent"].lower()}


@pytest.mark.parametrize("case", cases("names.yaml"))
def test_names(case: dict[str, Any]) -> None:
    """Control characters go, and what nobody sees around the name; what joins letters inside stays."""
    _, identify, event = mapped(Policy(), name=case["body"])
    assert identify.get("name") == event.get("name") == case["sent"]
