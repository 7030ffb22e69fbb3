"""Customer.io's rules, one by one: where each is held, and a case from outside that would break it."""

from __future__ import annotations

import json
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from pipeline.customerio.limits import (
    ATTRIBUTE_NAME_MAX_BYTES,
    ATTRIBUTE_VALUE_MAX_BYTES,
    ATTRIBUTES_MAX,
    EVENT_NAME_MAX_BYTES,
    ITEM_MAX_BYTES,
    PERSON_ID_MAX_BYTES,
    RESERVED_ATTRIBUTES,
)
from pipeline.customerio.sandbox.actions import validate
from pipeline.dodo import samples
from pipeline.settings import Settings
from pipeline.transform.mapping.events import title_of
from pipeline.transform.mapping.table import TABLE
from pipeline.transform.mapping.webhook import map_body
from pipeline.transform.policy import Policy
from pipeline.transform.verdicts import DeadLettered, Delivery, Operations

RULES = Path(__file__).parents[1] / "data" / "customerio" / "rules.yaml"
OPENAPI = Path(__file__).parents[2].parent / "shared" / "reference" / "customerio-track-openapi.json"


class Loader(yaml.SafeLoader):
    """YAML with shorthands for what is long."""


def _numbered(name: str, count: int, value: str = "v") -> dict[str, str]:
    return {f"{name}{number}": value for number in range(count)}


def _of(build: Any) -> Any:
    return lambda loader, node: build(*loader.construct_sequence(node, deep=True))


Loader.add_constructor("!times", _of(lambda text, count: text * count))
Loader.add_constructor("!pair", _of(lambda key, value: {key: value}))
Loader.add_constructor("!list", _of(lambda element, count: [element] * count))
Loader.add_constructor("!numbers", _of(lambda name, count: ",".join(_numbered(name, count))))
Loader.add_constructor("!numbered", _of(_numbered))
Loader.add_constructor("!numbered_long", _of(lambda name, count: _numbered(name, count, "v" * 1000)))

CASES: list[dict[str, Any]] = yaml.load(RULES.read_bytes(), Loader)


def policy_of(case: dict[str, Any], directory: Path) -> Policy:
    """The operator's settings of a case."""
    settings = dict(case.get("settings", {}))
    if "product_names" in settings:
        path = directory / "names.yaml"
        path.write_text(yaml.safe_dump(settings["product_names"]))
        settings["product_names"] = path
    return Policy.of(Settings.load(**settings))


def body_of(case: dict[str, Any]) -> bytes:
    """The sample with what the case brings from outside."""
    body = orjson.loads(samples.load("payment.succeeded")) | case.get("envelope", {})
    for name, value in case["data"].items():
        body["data"][name] = body["data"][name] | value if name == "customer" else value
    return json.dumps(body).encode()  # orjson writes no integer beyond 64 bits


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["rule"])
def test_rule(case: dict[str, Any], tmp_path: Path) -> None:
    """What goes out keeps the rule, says what was changed, and a strict stand-in takes all of it."""
    verdict = map_body(body_of(case), Delivery("msg_1", attempt_at_s=1_792_660_384), policy_of(case, tmp_path))
    if "dead_letter" in case:
        assert isinstance(verdict, DeadLettered)
        assert verdict.class_ == case["dead_letter"]
        return
    assert isinstance(verdict, Operations)
    identify, event = (orjson.loads(operation.body) for operation in verdict.operations)
    for operation, raw in zip((identify, event), verdict.operations, strict=True):
        assert validate(operation) == []
        assert len(raw.body) <= ITEM_MAX_BYTES
        keeps_the_limits(operation["attributes"])
        assert not set(case.get("absent", ())) & set(operation["attributes"])
        assert operation["identifiers"] == case.get("person", {"id": "cus_0NExampleCustomer0001"})
    for operation, expected in ((identify, case.get("identify", {})), (event, case.get("event", {}))):
        assert {name: operation["attributes"].get(name) for name in expected} == expected
    assert event["name"] == case.get("event_name", "payment_completed")
    assert set(case.get("notes", ())) <= set(verdict.notes)


def keeps_the_limits(attributes: dict[str, Any]) -> None:
    """The published figures, by a reading of their own."""
    assert len(attributes) <= ATTRIBUTES_MAX
    for name, value in attributes.items():
        assert 0 < len(name.encode()) <= ATTRIBUTE_NAME_MAX_BYTES
        assert "." not in name
        assert name not in RESERVED_ATTRIBUTES
        text = value if isinstance(value, str) else orjson.dumps(value).decode()
        assert len(text.encode()) <= ATTRIBUTE_VALUE_MAX_BYTES


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["rule"])
def test_where_it_is_held(case: dict[str, Any]) -> None:
    """The place that the list names is there, and each rule says where it is published."""
    module, _, name = case["held_by"].partition(":")
    found: Any = import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    assert case["source"].strip()


def test_names_of_events() -> None:
    """Every event that the table can send, in either style, is no longer than Customer.io takes."""
    names = {row.event for _, rows in TABLE.values() for row in rows if row.event is not None}
    assert len(names) > 40
    for name in names:
        for shown in (name, title_of(name)):
            assert shown == shown.strip()
            assert 0 < len(shown.encode()) <= EVENT_NAME_MAX_BYTES


@pytest.mark.skipif(not OPENAPI.exists(), reason="the vendor's OpenAPI document is not beside the project")
def test_every_published_limit_of_people_and_events_has_its_case() -> None:
    """Row by row of the document's tables of limits."""
    text = orjson.loads(OPENAPI.read_bytes())["info"]["description"]
    rows = []
    for title in ("## Customer limits", "## Track API Event limits"):
        table = text.partition(title)[2].partition("\n## ")[0]
        rows += [
            tuple(cell.strip() for cell in row.strip("| ").split("|"))
            for row in table.splitlines()
            if re.match(r"\|.*(bytes|\d)", row)
        ]
    sources = [case["source"] for case in CASES]
    assert len(rows) >= 6
    for name, limit, *_ in rows:
        assert any(f"{name} | {limit}" in source for source in sources), (name, limit)
    assert str(PERSON_ID_MAX_BYTES) in dict(row[:2] for row in rows)["ID"]
