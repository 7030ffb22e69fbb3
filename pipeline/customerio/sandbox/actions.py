"""The table of types and actions with their checks, by the published OpenAPI document.

`validate` is a pure function of one operation. Unknown keys pass, as the schemas forbid none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from pipeline.customerio.sandbox.identifiers import PERSON_OF_MERGE, check_object, check_person
from pipeline.customerio.sandbox.rejections import Rejection, invalid, required
from pipeline.customerio.sandbox.values import (
    check_attributes,
    check_event_id,
    check_event_name,
    check_strings,
    check_timestamp,
)

Operation = dict[str, Any]
Check = Callable[[Operation, list[Rejection], bool], None]

MESSAGE_OVERRIDES: Final = ("recipient", "from_address", "reply_to")
PAGE_TEXTS: Final = ("path", "referrer", "search", "title", "url")
PLATFORMS: Final = ("ios", "android")
DELIVERY_METRICS: Final = ("opened", "converted", "delivered")


def validate(operation: Any, *, lenient: bool = False) -> list[Rejection]:
    """Every fault of one operation; empty when it is valid."""
    if type(operation) is not dict:
        return [invalid("", "must be an object")]
    kind, action = operation.get("type"), operation.get("action")
    actions = TABLE.get(kind) if type(kind) is str else None
    if actions is None:
        known = ", ".join(TABLE)
        return [required("type") if "type" not in operation else invalid("type", f"must be one of {known}")]
    check = actions.get(action) if type(action) is str else None
    if check is None:
        known = ", ".join(actions)
        return [required("action") if "action" not in operation else invalid("action", f"must be one of {known}")]
    rejections: list[Rejection] = []
    check(operation, rejections, lenient)
    return rejections


def _person(operation: Operation, rejections: list[Rejection], lenient: bool) -> None:
    check_person(operation.get("identifiers"), "identifiers", rejections, lenient=lenient)


def _identify(operation: Operation, rejections: list[Rejection], lenient: bool) -> None:
    _person(operation, rejections, lenient)
    check_timestamp(operation, rejections, lenient=lenient)
    if "attributes" in operation:
        _profile(operation, operation["attributes"], rejections, lenient)
    if "cio_relationships" in operation:
        _relationships(operation["cio_relationships"], rejections, to_people=False)


def _profile(operation: Operation, attributes: Any, rejections: list[Rejection], lenient: bool) -> None:
    check_attributes(attributes, "attributes", rejections, count=True)
    if type(attributes) is not dict:
        return
    if "_update" in attributes and type(attributes["_update"]) is not bool:
        rejections.append(invalid("attributes._update", "must be true or false"))
    if "cio_subscription_preferences" in attributes:
        _preferences(attributes["cio_subscription_preferences"], rejections)
    identifiers = operation.get("identifiers")
    own_id = identifiers.get("id") if type(identifiers) is dict else None
    if own_id is not None and not lenient and attributes.get("id", own_id) != own_id:
        # The message is the API's own, recorded in a v1 answer.
        rejections.append(invalid("attributes.id", "id attribute and identifier are not the same value"))


def _preferences(value: Any, rejections: list[Rejection]) -> None:
    field = "attributes.cio_subscription_preferences"
    topics = value.get("topics", {}) if type(value) is dict else None
    if type(topics) is not dict:
        rejections.append(invalid(field, "must be an object with an object of topics"))
        return
    rejections.extend(
        invalid(f"{field}.topics.{name}", "must be true or false")
        for name, chosen in topics.items()
        if type(chosen) is not bool
    )


def _event(operation: Operation, rejections: list[Rejection], lenient: bool) -> None:
    _person(operation, rejections, lenient)
    check_event_name(operation, rejections)
    check_event_id(operation, rejections, lenient=lenient)
    check_timestamp(operation, rejections, lenient=lenient)
    if "attributes" in operation:
        # Whether the 1,000 bytes hold for events too is not published; the strict mode assumes it.
        check_attributes(operation["attributes"], "attributes", rejections, count=False, values=not lenient)


def _custom_event(operation: Operation, rejections: list[Rejection], lenient: bool) -> None:
    _event(operation, rejections, lenient)
    check_strings(operation.get("attributes"), MESSAGE_OVERRIDES, "attributes", rejections)


def _page(operation: Operation, rejections: list[Rejection], lenient: bool) -> None:
    _event(operation, rejections, lenient)
    attributes = operation.get("attributes")
    check_strings(attributes, PAGE_TEXTS, "attributes", rejections)
    if type(attributes) is dict and "keywords" in attributes:
        keywords = attributes["keywords"]
        if type(keywords) is not list or any(type(word) is not str for word in keywords):
            rejections.append(invalid("attributes.keywords", "must be an array of strings"))


def _person_relationships(operation: Operation, rejections: list[Rejection], lenient: bool) -> None:
    _person(operation, rejections, lenient)
    _relationships(operation.get("cio_relationships"), rejections, to_people=False)


def _relationships(value: Any, rejections: list[Rejection], *, to_people: bool) -> None:
    field = "cio_relationships"
    if type(value) is not list:
        rejections.append(required(field) if value is None else invalid(field, "must be an array"))
        return
    for index, relationship in enumerate(value):
        at = f"{field}.{index}"
        if type(relationship) is not dict:
            rejections.append(invalid(at, "must be an object"))
            continue
        if to_people:
            allowed = PERSON_OF_MERGE
            check_person(
                relationship.get("identifiers"), f"{at}.identifiers", rejections, lenient=False, allowed=allowed
            )
        else:
            check_object(relationship.get("identifiers"), f"{at}.identifiers", rejections)
        if "relationship_attributes" in relationship:
            check_attributes(
                relationship["relationship_attributes"], f"{at}.relationship_attributes", rejections, count=True
            )


def _add_device(operation: Operation, rejections: list[Rejection], lenient: bool) -> None:
    device = _device(operation, rejections, lenient)
    if device is None:
        return
    if "platform" not in device:
        rejections.append(required("device.platform"))
    elif device["platform"] not in PLATFORMS:
        rejections.append(invalid("device.platform", "must be ios or android"))
    if "last_used" in device and type(device["last_used"]) is not int:
        rejections.append(invalid("device.last_used", "must be an integer of unix seconds"))
    if "attributes" in device:
        attributes = device["attributes"]
        check_attributes(attributes, "device.attributes", rejections, count=True)
        if type(attributes) is dict:
            check_strings(attributes, tuple(attributes), "device.attributes", rejections)
            if attributes.get("push_enabled", "true") not in ("true", "false"):
                rejections.append(invalid("device.attributes.push_enabled", 'must be "true" or "false"'))


def _delete_device(operation: Operation, rejections: list[Rejection], lenient: bool) -> None:
    _device(operation, rejections, lenient)


def _device(operation: Operation, rejections: list[Rejection], lenient: bool) -> dict[str, Any] | None:
    _person(operation, rejections, lenient)
    device = operation.get("device")
    if type(device) is not dict:
        rejections.append(required("device") if device is None else invalid("device", "must be an object"))
        return None
    if "token" not in device:
        rejections.append(required("device.token"))
    elif type(device["token"]) is not str:
        rejections.append(invalid("device.token", "must be a string"))
    return device


def _merge(operation: Operation, rejections: list[Rejection], lenient: bool) -> None:
    for side in ("primary", "secondary"):
        check_person(operation.get(side), side, rejections, lenient=lenient, allowed=PERSON_OF_MERGE)


def _object(operation: Operation, rejections: list[Rejection], _lenient: bool) -> None:
    check_object(operation.get("identifiers"), "identifiers", rejections)


def _object_identify(operation: Operation, rejections: list[Rejection], lenient: bool) -> None:
    _object(operation, rejections, lenient)
    if "attributes" in operation:
        check_attributes(operation["attributes"], "attributes", rejections, count=True)
    if "cio_relationships" in operation:
        _relationships(operation["cio_relationships"], rejections, to_people=True)


def _object_identify_anonymous(operation: Operation, rejections: list[Rejection], lenient: bool) -> None:
    _object(operation, rejections, lenient)
    if "attributes" in operation:
        check_attributes(operation["attributes"], "attributes", rejections, count=True)
    relationships = operation.get("cio_relationships", [])
    if type(relationships) is not list or any(type(entry) is not dict for entry in relationships):
        rejections.append(invalid("cio_relationships", "must be an array of objects"))
        return
    for index, entry in enumerate(relationships):
        identifiers = entry.get("identifiers", {})
        if type(identifiers) is not dict or type(identifiers.get("anonymous_id", "")) is not str:
            rejections.append(invalid(f"cio_relationships.{index}.identifiers.anonymous_id", "must be a string"))


def _object_relationships(operation: Operation, rejections: list[Rejection], lenient: bool) -> None:
    _object(operation, rejections, lenient)
    _relationships(operation.get("cio_relationships"), rejections, to_people=True)


def _delivery(operation: Operation, rejections: list[Rejection], _lenient: bool) -> None:
    identifiers = operation.get("identifiers")
    if type(identifiers) is not dict:
        rejections.append(required("identifiers"))
    elif type(identifiers.get("id")) is not str:
        rejections.append(required("identifiers.id"))
    if "name" not in operation:
        rejections.append(required("name"))
    elif operation["name"] not in DELIVERY_METRICS:
        rejections.append(invalid("name", f"must be one of {', '.join(DELIVERY_METRICS)}"))
    attributes = operation.get("attributes")
    if type(attributes) is not dict or "device_token" not in attributes:
        rejections.append(required("attributes.device_token"))
    else:
        check_strings(attributes, ("device_token",), "attributes", rejections)


TABLE: Final[dict[str, dict[str, Check]]] = {
    "person": {
        "identify": _identify,
        "delete": _person,
        "event": _custom_event,
        "screen": _event,
        "page": _page,
        "add_relationships": _person_relationships,
        "delete_relationships": _person_relationships,
        "add_device": _add_device,
        "delete_device": _delete_device,
        "merge": _merge,
        "suppress": _person,
        "unsuppress": _person,
    },
    "object": {
        "identify": _object_identify,
        "identify_anonymous": _object_identify_anonymous,
        "delete": _object,
        "add_relationships": _object_relationships,
        "delete_relationships": _object_relationships,
    },
    "delivery": {"event": _delivery},
}
"""Type → action → check. Events of objects are refused: one page of the documentation has them, no schema does."""
