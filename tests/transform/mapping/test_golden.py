"""Golden cases: what each webhook becomes, as data in `tests/data/mapping/<type>/<case>.json`.

Each file has `docs` (one line), the `webhook` (or `body_text`, where the bytes matter), the `delivery`, the `settings`
and the whole expected verdict. `_unknown` and `_unreadable` hold what is of no type.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from pipeline.dodo.catalogue import TYPES
from pipeline.settings import Settings
from pipeline.transform.mapping import map_body
from pipeline.transform.policy import Policy
from pipeline.transform.verdicts import Delivery, Dropped, Operations, Verdict

DATA = Path(__file__).parents[2] / "data" / "mapping"
CASES = sorted(DATA.rglob("*.json"))


def load(path: Path) -> dict[str, Any]:
    """One golden case."""
    loaded: dict[str, Any] = orjson.loads(path.read_bytes())
    return loaded


def body_of(case: dict[str, Any]) -> bytes:
    """The bytes that Dodo would send."""
    return case["body_text"].encode() if "body_text" in case else orjson.dumps(case["webhook"])


def policy_of(settings: dict[str, Any], tmp_path: Path) -> Policy:
    """The policy of a case's settings; its product names are written to a file first, as an operator would."""
    settings = dict(settings)
    if "product_names" in settings:
        path = tmp_path / "names.yaml"
        path.write_text(yaml.safe_dump(settings["product_names"]))
        settings["product_names"] = path
    return Policy.of(Settings.load(**settings))


def document(verdict: Verdict) -> dict[str, Any]:
    """A verdict in the files' form."""
    if isinstance(verdict, Operations):
        return {
            "verdict": "operations",
            "person_key": verdict.person_key.decode(),
            "event_time_ms": verdict.event_time_ms,
            "operations": [
                {"kind": o.kind, "name": o.name, "barrier": o.barrier, "body": orjson.loads(o.body)}
                for o in verdict.operations
            ],
            "warnings": list(verdict.warnings),
            "notes": list(verdict.notes),
        }
    if isinstance(verdict, Dropped):
        return {"verdict": "dropped", "reason": verdict.reason, "text": verdict.text}
    return {
        "verdict": "dead_letter",
        "class": verdict.class_,
        "reason": verdict.reason,
        "field": verdict.field,
    }


@pytest.mark.parametrize("path", CASES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_webhook_becomes_exactly_this(path: Path, tmp_path: Path) -> None:
    """The whole verdict is the file's, every attribute, time, id, warning and note of it."""
    case = load(path)
    body = body_of(case)
    delivery = Delivery(**case["delivery"])
    verdict = map_body(body, delivery, policy_of(case["settings"], tmp_path))
    assert document(verdict) == case["expect"]
    if isinstance(verdict, Operations):
        ids = [orjson.loads(o.body).get("id") for o in verdict.operations if o.kind == "event"]
        assert ids == [o.op_id for o in verdict.operations if o.kind == "event"]


@pytest.mark.parametrize("type_", TYPES)
def test_every_type_has_two_cases(type_: str) -> None:
    """No type goes without a usual and an unusual body."""
    assert len([path for path in CASES if path.parent.name == type_]) >= 2


def test_files_lie_where_their_type_says() -> None:
    """A case is found by its type, and says in one line what it shows."""
    for path in CASES:
        case = load(path)
        assert case["docs"].strip(), path
        assert "\n" not in case["docs"], path
        if "webhook" in case and not path.parent.name.startswith("_"):
            webhook = case["webhook"]
            type_ = webhook.get("type") or webhook.get("eventType")
            assert type_ in {path.parent.name, "payout.not_initiated"}, path
