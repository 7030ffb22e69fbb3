"""Objects: companies, courses or other things that people are related to. This pipeline sends none; others may."""

from __future__ import annotations

from typing import Any


class Objects:
    """Every object of one workspace."""

    def __init__(self) -> None:
        self._objects: dict[str, dict[str, Any]] = {}

    def __len__(self) -> int:
        """How many objects there are."""
        return len(self._objects)

    def apply(self, operation: dict[str, Any]) -> None:
        """Apply one valid operation of type `object`."""
        identifiers = operation["identifiers"]
        label = _label(identifiers)
        action = operation["action"]
        if action == "delete":
            self._objects.pop(label, None)
            return
        stored = self._objects.get(label)
        if stored is None:
            if "cio_object_id" in identifiers:
                return  # it can only update
            stored = self._objects[label] = {"identifiers": identifiers, "attributes": {}, "relationships": []}
        for name, value in operation.get("attributes", {}).items():
            if value is None or value == "":
                stored["attributes"].pop(name, None)
            else:
                stored["attributes"][name] = value
        relate(stored["relationships"], operation.get("cio_relationships", []), remove=action == "delete_relationships")

    def as_json(self) -> list[dict[str, Any]]:
        """The objects for `/__sandbox/objects`."""
        return list(self._objects.values())


def relate(stored: list[dict[str, Any]], given: list[dict[str, Any]], *, remove: bool) -> None:
    """Replace the relationships in `stored` that `given` names, or remove them."""
    named = [relationship.get("identifiers") for relationship in given]
    stored[:] = [relationship for relationship in stored if relationship.get("identifiers") not in named]
    if not remove:
        stored.extend(given)


def _label(identifiers: dict[str, str]) -> str:
    if "cio_object_id" in identifiers:
        return identifiers["cio_object_id"]
    return f"{identifiers['object_type_id']}/{identifiers['object_id']}"
