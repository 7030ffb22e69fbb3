"""What leaves fits the contract with the platform: the schema of the operations topic."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import orjson
import pytest

from pipeline.dodo import samples
from pipeline.transform.mapping import map_body
from pipeline.transform.policy import Policy
from pipeline.transform.verdicts import Delivery, Operations

ROOT = Path(__file__).parents[2]
SCHEMAS = sorted((ROOT / "topics" / "schemas").glob("*operation*.json"))
CASES = sorted((ROOT / "tests" / "data" / "mapping").rglob("*.json"))


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    """Of one operation."""
    if not SCHEMAS:
        pytest.skip("topics/schemas has no schema of the operations")
    schema = orjson.loads(SCHEMAS[0].read_bytes())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("name", samples.names())
def test_every_samples_operations_are_valid(name: str, validator: jsonschema.Draft202012Validator) -> None:
    """As they lie in the topic."""
    policy = Policy(emit_first_renewal=True, emit_credit_deducted=True, forward_card_hints=True, forward_test_mode=True)
    for mode in ("live", "test"):
        verdict = map_body(samples.load(name), Delivery("msg_1", mode=mode), policy)
        for operation in verdict.operations if isinstance(verdict, Operations) else ():
            validator.validate(orjson.loads(operation.body))


def test_every_golden_operation_is_valid(validator: jsonschema.Draft202012Validator) -> None:
    """The odd bodies' operations too."""
    operations = [
        operation["body"]
        for path in CASES
        for operation in orjson.loads(path.read_bytes())["expect"].get("operations", [])
    ]
    assert len(operations) > 300
    for operation in operations:
        validator.validate(operation)


def test_the_vendors_recipe_is_not_valid(validator: jsonschema.Draft202012Validator) -> None:
    """`action: "payment_completed"` is no action of the Track API: the schema is one that can refuse."""
    recipe = {
        "type": "person",
        "identifiers": {"id": "cus_1"},
        "action": "payment_completed",
        "name": "Payment Completed",
        "attributes": {"payment_amount": "49.00"},
    }
    assert not validator.is_valid(recipe)
