"""The JSON Schema of the rules file, for editors: its structure, and the names of the catalogue."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import orjson

from pipeline.dodo.catalogue import TYPES, Family
from pipeline.transform.shaping.rules.catalogue import EVENT_NAMES


def document() -> dict[str, Any]:
    """The schema of this version."""
    schema: dict[str, Any] = orjson.loads(files(__package__).joinpath("schema.json").read_bytes())
    names = {"type": [*TYPES], "family": [family.value for family in Family], "event": [*EVENT_NAMES]}
    for what, known in names.items():
        schema["$defs"][what] = {"enum": known}
    return schema
