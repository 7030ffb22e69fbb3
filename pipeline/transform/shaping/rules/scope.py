"""The values that an expression can read, and how a path finds its value among them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from pipeline.transform.shaping.types import Attributes, Webhook

MISSING: Final = object()
"""The value of a path that leads nowhere, or to null: Dodo leaves a member out or sends null where there is nothing."""


class Scope(NamedTuple):
    """What an expression can read: the webhook, and what the default mapping made of it; None where it made none."""

    webhook: Webhook
    event: Attributes | None
    profile: Attributes | None


Get = Callable[[Scope], Any]


def getter(names: tuple[str, ...]) -> Get:
    """The function that reads the value at a path."""
    root, *rest = names
    if root == "webhook":
        return _of_webhook(rest)
    if root == "event":
        return _of_event(rest[0]) if len(rest) == 1 else lambda scope: walk(scope.event, rest)
    return _of_profile(rest[0]) if len(rest) == 1 else lambda scope: walk(scope.profile, rest)


def _of_event(name: str) -> Get:
    def get(scope: Scope) -> Any:
        value = scope.event.get(name) if scope.event is not None else None
        return MISSING if value is None else value

    return get


def _of_profile(name: str) -> Get:
    def get(scope: Scope) -> Any:
        value = scope.profile.get(name) if scope.profile is not None else None
        return MISSING if value is None else value

    return get


def presence(names: tuple[str, ...]) -> Get:
    """The function that answers `has(…)` of a path."""
    get = getter(names)
    return lambda scope: get(scope) is not MISSING


def walk(value: Any, names: list[str]) -> Any:
    """The member at a path of objects, `MISSING` where there is none, or null."""
    for name in names:
        if type(value) is not dict and not isinstance(value, Mapping):  # `isinstance` takes ten times as long
            return MISSING
        value = value.get(name)
    return MISSING if value is None else value


def _there(value: Any) -> Any:
    return MISSING if value is None else value


def _of_webhook(names: list[str]) -> Get:
    if not names:
        return lambda scope: _whole(scope.webhook)
    first, *rest = names
    match first:
        case "type" | "id" | "mode" | "event_ms" | "received_ms":
            return lambda scope: _there(getattr(scope.webhook, first))
        case "data" if len(rest) == 1:
            name = rest[0]
            return lambda scope: _there(scope.webhook.data.get(name))
        case _:
            return lambda scope: walk(scope.webhook.body, names)


def _whole(webhook: Webhook) -> dict[str, Any]:
    told = {"type": webhook.type, "id": webhook.id, "mode": webhook.mode, "event_ms": webhook.event_ms}
    if webhook.received_ms is not None:
        told["received_ms"] = webhook.received_ms
    return {**webhook.body, **told}
