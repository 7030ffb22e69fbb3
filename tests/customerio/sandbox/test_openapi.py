"""The sandbox agrees with the vendor's published OpenAPI document, where a copy of it lies beside the checkout."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, FormatChecker
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from pipeline.customerio.sandbox import SandboxConfig, create_sandbox
from pipeline.customerio.sandbox.actions import validate
from pipeline.customerio.sandbox.values import ULID

CHECKOUT = Path(__file__).parents[3]
DOCUMENT = CHECKOUT.parent / "shared" / "reference" / "customerio-track-openapi.json"

pytestmark = pytest.mark.skipif(
    not DOCUMENT.is_file(), reason="the vendor's OpenAPI document is not beside the checkout"
)

CASES: list[dict[str, Any]] = json.loads(
    (CHECKOUT / "tests" / "data" / "sandbox" / "operations.json").read_text(encoding="utf-8")
)

LIMITS_IN_TEXT = (
    "must not be blank",
    "cannot be longer than",
    "cannot have more than",
    "id attribute and identifier are not the same value",
    "must have exactly one of",
    "must have object_type_id and object_id, or cio_object_id",
)
"""Documented in the text, or recorded from the API, and in no schema: where the schema says yes, these may say no.

The last two: `oneOf` takes a second identifier of the wrong type (an id and a null e-mail address) for none.
"""

NOT_REQUIRED = re.compile(r"identifiers|identifiers\.id|cio_relationships\.\d+\.identifiers")
"""Which object, which delivery and whom a relationship is with: some schemas forget to require what names them."""

FORMATS = FormatChecker(formats=())
FORMATS.checks("ULID")(lambda value: not isinstance(value, str) or ULID.fullmatch(value) is not None)


@cache
def document() -> dict[str, Any]:
    """The vendor's document."""
    loaded: dict[str, Any] = json.loads(DOCUMENT.read_text(encoding="utf-8"))
    return loaded


@cache
def validator(pointer: str) -> Draft202012Validator:
    """A validator of the schema at `pointer`."""
    resource: Resource[Any] = DRAFT202012.create_resource(document())
    registry: Registry[Any] = Registry().with_resource("urn:track", resource)
    return Draft202012Validator({"$ref": f"urn:track#{pointer}"}, registry=registry, format_checker=FORMATS)


def by_schema(operation: Any) -> bool:
    """Whether the schema of `/api/v2/entity` takes the operation."""
    pointer = "/paths/~1api~1v2~1entity/post/requestBody/content/application~1json/schema"
    return validator(pointer).is_valid(operation)


def is_ambiguous_relationship(operation: Any) -> bool:
    """A known fault of the document: its alternatives for a related person require nothing, so `oneOf` matches all.

    The document's own example of adding a relationship to an object fails its schema.
    """
    return (
        isinstance(operation, dict) and operation.get("type") == "object" and bool(operation.get("cio_relationships"))
    )


def disagreement(operation: Any) -> str | None:
    """How sandbox and schema differ beyond what is known; None when they agree."""
    rejections = validate(operation)
    if is_ambiguous_relationship(operation) or by_schema(operation) == (not rejections):
        return None
    if rejections and all(
        any(text in rejection.message for text in LIMITS_IN_TEXT)
        or (rejection.reason == "required" and NOT_REQUIRED.fullmatch(rejection.field))
        for rejection in rejections
    ):
        return None
    return f"the schema says {by_schema(operation)}, the sandbox {rejections}"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_verdicts_agree(case: dict[str, Any]) -> None:
    """Every case that our data calls valid or invalid is so by the vendor's schema."""
    assert disagreement(case["operation"]) is None


def documented_examples() -> Iterator[tuple[str, Any]]:
    """The document's own example of each operation."""
    schemas = document()["components"]["schemas"]
    for name, schema in schemas.items():
        if name.startswith(("identify_person", "person_", "object_", "delivery_operations")) and "example" in schema:
            example = schema["example"]
            if isinstance(example, dict) and "action" in example:
                yield name, example


def test_the_documented_examples_are_taken() -> None:
    """Whatever the vendor shows as an example is valid here."""
    examples = dict(documented_examples())
    assert len(examples) > 12
    assert [name for name, example in examples.items() if validate(example)] == []


def test_the_known_fault_of_the_document_is_still_there() -> None:
    """When the vendor mends its schema of relationships, the exception above must go."""
    assert not by_schema(document()["components"]["schemas"]["object_add_relationships"]["example"])


KEYS = st.sampled_from(
    ["type", "action", "identifiers", "id", "email", "phone", "cio_id", "anonymous_id", "name", "timestamp",
     "attributes", "device", "token", "platform", "last_used", "primary", "secondary", "cio_relationships",
     "object_type_id", "object_id", "cio_object_id", "keywords", "recipient", "_update", "push_enabled",
     "relationship_attributes"]
)  # fmt: skip
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(0, 10**12),
    st.sampled_from([1.5, 2.0, "", "x", "42", "ios", "opened", "+15551234567", "01ARZ3NDEKTSV4RRFFQ69G5FAV"]),
    st.lists(st.sampled_from(["a", 1, {}, {"identifiers": {"id": "1"}}]), max_size=2),
    st.dictionaries(KEYS, st.sampled_from(["x", 1, True, None, {}, []]), max_size=2),
)


def paths_of(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a JSON value."""
    yield at
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in entries:
        yield from paths_of(inner, (*at, key))


@st.composite
def mutated(draw: st.DrawFn) -> Any:
    """A valid operation with up to three members removed, replaced or added."""
    small = [case["operation"] for case in CASES if not case["rejections"] and len(str(case["operation"])) < 400]
    operation = copy.deepcopy(draw(st.sampled_from(small)))
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(list(paths_of(operation))))
        parent = operation
        for key in path[:-1]:
            parent = parent[key]
        target = parent[path[-1]] if path else operation
        change = draw(st.sampled_from(["remove", "replace", "add"]))
        if change == "add" and isinstance(target, dict):
            target[draw(KEYS)] = copy.deepcopy(draw(VALUES))
        elif path and change == "remove":
            del parent[path[-1]]
        elif path:
            parent[path[-1]] = copy.deepcopy(draw(VALUES))
    return operation


@settings(max_examples=400)
@given(mutated())
def test_verdicts_agree_on_mutations(operation: Any) -> None:
    """Whatever is done to a valid operation, sandbox and schema say the same, but for the exceptions named above."""
    assert disagreement(operation) is None


@pytest.fixture
async def client() -> Any:
    """A sandbox to ask."""
    transport = httpx.ASGITransport(create_sandbox(SandboxConfig()))
    async with httpx.AsyncClient(transport=transport, base_url="http://sandbox", auth=("site", "key")) as asking:
        yield asking


async def test_answers_have_the_declared_shapes(client: httpx.AsyncClient) -> None:
    """207, 400 and the region endpoint answer in the shapes that the document declares; success is an empty object."""
    bad = {"type": "person", "identifiers": {"id": "1"}, "action": "event"}
    good = {"type": "person", "identifiers": {"id": "1"}, "action": "identify"}
    asked = {
        "/paths/~1api~1v2~1batch/post/responses/207": await client.post("/api/v2/batch", json={"batch": [good, bad]}),
        "/paths/~1api~1v2~1batch/post/responses/400": await client.post("/api/v2/batch", json={"batch": 1}),
        "/paths/~1api~1v2~1entity/post/responses/400": await client.post("/api/v2/entity", json=bad),
        "/paths/~1api~1v1~1accounts~1region/get/responses/200": await client.get("/api/v1/accounts/region"),
    }
    for pointer, answer in asked.items():
        assert pointer.endswith(f"/{answer.status_code}")
        assert answer.json()
        assert validator(f"{pointer}/content/application~1json/schema").is_valid(answer.json())
    errors = asked["/paths/~1api~1v2~1batch/post/responses/207"].json()["errors"]
    assert [sorted(error) for error in errors] == [["batch_index", "field", "message", "reason"]]
    assert (await client.post("/api/v2/entity", json=good)).content == b"{}\n"
