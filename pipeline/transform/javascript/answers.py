"""Turns what recipes return into attributes of the profile and events.

The vendor's recipes name actions that Customer.io does not have (`payment_completed`); what they mean is an event. The
pipeline sets the person, the id and the time, so that a retry is no second event; those of the recipe are not sent.
Amounts and all other attributes stay as the recipe made them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from pipeline.errors import ShapingError
from pipeline.settings import PREFIX

OTHER_ACTIONS: Final = frozenset(
    {
        *("delete", "suppress", "unsuppress", "merge", "screen", "page"),
        *("add_device", "delete_device", "add_relationships", "delete_relationships"),
    }
)
"""Actions of Customer.io on a person that no webhook about a payment may cause: most cannot be undone."""


class NamedEvent(NamedTuple):
    """One event; `place` is the file of the recipe that returned it."""

    name: str
    attributes: Mapping[str, Any]
    place: str


class Told(NamedTuple):
    """What the recipes send for one webhook; `profile` is None where none of them identifies."""

    profile: Mapping[str, Any] | None
    events: tuple[NamedEvent, ...]


def told(payloads: Iterable[tuple[str, Any]], body: Mapping[str, Any], chain: tuple[str, ...]) -> Told:
    """The profile and events in `payloads`, each payload with the file that made it, about the customer of `body`.

    Several identifies become one; of equal attributes the later value is kept. `chain` is the identity policy.

    Raises:
        ShapingError: a payload is not an operation of Customer.io, not one that a webhook may cause, or not about this
            customer.
    """
    profile: dict[str, Any] | None = None
    events = []
    for place, payload in payloads:
        if not isinstance(payload, dict):
            raise ShapingError(f"the payload is {_kind(payload)} and no object", place=place)
        if "action" not in payload and "identifiers" not in payload:
            raise ShapingError(
                "the payload has neither identifiers nor action: Customer.io would refuse it. Return the webhook as it "
                "was given for types that are not yours",
                place=place,
            )
        if payload.get("type", "person") != "person":
            raise ShapingError("the payload is no person's: the pipeline sends for people alone", place=place)
        _check_person(payload.get("identifiers"), body, chain, place)
        attributes = payload.get("attributes")
        if attributes is None:
            attributes = {}
        if not isinstance(attributes, dict):
            raise ShapingError(f"the attributes are {_kind(attributes)} and no object", place=place)
        name = _event_name(payload, place)
        if name is None:
            profile = {**(profile or {}), **attributes}
        else:
            events.append(NamedEvent(name, attributes, place))
    return Told(profile, tuple(events))


def _event_name(payload: Mapping[str, Any], place: str) -> str | None:
    """The event's name; None for an identify."""
    action, name = payload.get("action"), payload.get("name")
    if action == "identify":
        return None
    if isinstance(action, str) and action in OTHER_ACTIONS:
        raise ShapingError(f"the action {action} is none for a webhook: identify and event are", place=place)
    if isinstance(name, str) and name.strip():
        return name
    if isinstance(action, str) and action.strip() and action != "event":
        return action
    raise ShapingError("the event has no name", place=place)


def _check_person(identifiers: Any, body: Mapping[str, Any], chain: tuple[str, ...], place: str) -> None:
    """Refuse identifiers that are not this customer's: the pipeline decides about whom a webhook is, not a recipe."""
    customer = _members(_members(body.get("data")).get("customer"))
    if type(own := customer.get("customer_id")) is str and own and identifiers == {"id": own}:
        return  # so in nearly all recipes
    if not isinstance(identifiers, dict) or not identifiers:
        raise ShapingError("the payload has no identifiers: whose it is cannot be told", place=place)
    people = _People(body)
    for kind, value in identifiers.items():
        if kind not in {"id", "email"}:
            raise ShapingError("the identifiers are others than id and email", place=place)
        if value is None or value == "" or isinstance(value, dict | list | bool):
            raise ShapingError(f"the identifier {kind} is {_kind(value)}: whose it is cannot be told", place=place)
        if not people.has(kind, _word(value), chain):
            raise ShapingError(
                f"the identifier {kind} is not one of this webhook's customer by {PREFIX}PERSON_ID={','.join(chain)}"
                f"{people.hint(_word(value))}",
                place=place,
            )


class _People:
    """The ids and addresses by which the body names its customer."""

    def __init__(self, body: Mapping[str, Any]) -> None:
        data = _members(body.get("data"))
        customer = _members(data.get("customer"))
        self._ids = {_word(value) for value in (customer.get("customer_id"), data.get("customer_id")) if value}
        self._email = _word(customer.get("email") or "").strip().lower()
        self._metadata = [_members(customer.get("metadata")), _members(data.get("metadata"))]

    def has(self, kind: str, value: str, chain: tuple[str, ...]) -> bool:
        is_email = self._email != "" and value.strip().lower() == self._email
        if kind == "email":
            return is_email
        if value in self._ids or (is_email and "email" in chain):
            return True
        steps = [step.removeprefix("metadata.") for step in chain if step.startswith("metadata.")]
        return any(key in held and _word(held[key]) == value for key in steps for held in self._metadata)

    def hint(self, value: str) -> str:
        if self._email and value.strip().lower() == self._email:
            return f": set {PREFIX}PERSON_ID=email"
        for held in self._metadata:
            for key, one in held.items():
                if value and _word(one) == value:
                    return f": set {PREFIX}PERSON_ID=metadata.{key},customer_id"
        return ""


def _members(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _word(value: Any) -> str:
    return value if isinstance(value, str) else str(value)


def _kind(value: Any) -> str:
    match value:
        case None:
            return "null"
        case "":
            return "empty"
        case bool():
            return "true or false"
        case str():
            return "text"
        case int() | float():
            return "a number"
        case list():
            return "an array"
        case _:
            return "an object"
