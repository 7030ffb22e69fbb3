"""Calls a shaper, and checks that what it returns can become operations.

The check comes before the encoding: a shaper is somebody else's code, and one webhook on which it goes wrong must not
stop the flow for all others. What the mapping made and the shaper left unchanged is not checked again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from typing import Any, Final

import orjson

from pipeline.customerio.attributes import DEPTH_MAX, PLAIN_ONLY
from pipeline.customerio.limits import EVENT_NAME_MAX_BYTES, ITEM_MAX_BYTES
from pipeline.errors import InputError, PipelineError, ShapingError
from pipeline.transform.failures import where
from pipeline.transform.shaping.types import Event, Identify, Known, Shaped, Shaper, Webhook
from pipeline.transform.ulid import ulid

EVENTS_MAX: Final = 20
"""Events of one webhook at most. A loop by mistake is stopped here, before it uses up the workspace's rate."""


def shape(shaper: Shaper, webhook: Webhook, default: Shaped, know: Callable[[], Known]) -> Shaped:
    """What `shaper` makes of the webhook, checked.

    Raises:
        ShapingError: it failed, or what it returned cannot become operations.
        PipelineError: `know` could not read the state.
    """
    try:
        shaped = shaper.shape(webhook, default, know)
    except ShapingError:
        raise
    except InputError as error:
        raise ShapingError(f"the shaper failed on this webhook ({where(error)})") from None
    except (MemoryError, PipelineError):
        raise  # the process's or the state's trouble
    except (Exception, SystemExit) as error:  # noqa: BLE001 - somebody else's code, and one webhook
        raise ShapingError(f"the shaper failed on this webhook ({where(error)})") from None
    if shaped is not default and not getattr(shaper, "is_checked", False):
        _check(shaped, default)
    return shaped


def look_ahead(shaper: Shaper, webhooks: Sequence[Webhook]) -> None:
    """Show `shaper` webhooks that it will probably be asked about next, if it has a method `ahead` for that."""
    ahead: Callable[[Sequence[Webhook]], None] | None = getattr(shaper, "ahead", None)
    if ahead is not None:
        ahead(webhooks)


def may_change(shaper: Shaper, type_: str, events: frozenset[str]) -> bool:
    """Whether `shaper` may change a webhook of this type: its method `touches` decides; without one it may.

    Args:
        shaper: the user's.
        type_: Dodo's.
        events: canonical names of all events that such a webhook may emit.
    """
    touches: Callable[[str, frozenset[str]], bool] | None = getattr(shaper, "touches", None)
    return touches is None or touches(type_, events)


def additional_id(at_ms: int, origin: str, beside: str, place: int) -> str:
    """The id of an event that the default mapping does not make.

    Args:
        at_ms: the body's own time, unix milliseconds, 0 without one.
        origin: of the event.
        beside: the id of the webhook's own event, or the webhook's where it has none.
        place: its number among the webhook's events of that origin, from 0.
    """
    return ulid(at_ms, origin, "beside", beside, str(place))


def _check(shaped: Any, default: Shaped) -> None:
    if not isinstance(shaped, Shaped):
        raise ShapingError(f"the shaper returned {_kind(shaped)} and no Shaped")
    ours = {id(event.attributes) for event in default.events}
    if shaped.identify is not None:
        if not isinstance(shaped.identify, Identify):
            raise ShapingError(f"the shaper's identify is {_kind(shaped.identify)} and no Identify")
        if default.identify is None or shaped.identify.attributes is not default.identify.attributes:
            check_attributes(shaped.identify.attributes, "the identify")
    if not isinstance(shaped.events, tuple):
        raise ShapingError(f"the shaper's events are {_kind(shaped.events)} and no tuple of Event")
    if len(shaped.events) > EVENTS_MAX:
        raise ShapingError(f"the shaper made {len(shaped.events):,} events of one webhook; {EVENTS_MAX} is the most")
    for event in shaped.events:
        if not isinstance(event, Event):
            raise ShapingError(f"one of the shaper's events is {_kind(event)} and no Event")
        check_name(event.name)
        if not isinstance(event.origin, str):
            raise ShapingError(f"the origin of an event is {_kind(event.origin)} and no text")
        if id(event.attributes) not in ours:
            check_attributes(event.attributes, f"the event {event.name!r}")


def check_name(name: Any) -> None:
    """Refuse a name that an event cannot have.

    Raises:
        ShapingError: it is such a name.
    """
    if not isinstance(name, str) or not name.strip():
        raise ShapingError(f"an event's name is {_kind(name) if not isinstance(name, str) else 'empty'}")
    if len(name.strip().encode("utf-8", "replace")) > EVENT_NAME_MAX_BYTES:
        raise ShapingError(
            f"an event's name has over {EVENT_NAME_MAX_BYTES} bytes: no campaign would listen to its head"
        )


def check_attributes(attributes: Any, whose: str) -> None:
    """Refuse attributes that are not JSON (a cycle, NaN), or are larger than an operation may be.

    Raises:
        ShapingError: they are; the message has the attribute's name.
    """
    if not isinstance(attributes, Mapping):
        raise ShapingError(f"the attributes of {whose} are {_kind(attributes)} and no mapping")
    held = attributes if type(attributes) is dict else dict(attributes)
    try:
        text = orjson.dumps(held, option=PLAIN_ONLY)
    except TypeError:
        text = None
    if text is None:
        for name, value in held.items():
            if not isinstance(name, str):
                raise ShapingError(f"a name among the attributes of {whose} is {_kind(name)} and no text")
            _check_value(name, value, whose)
        return  # surrogates or large integers: the mapping's own fitting knows them
    if len(text) > ITEM_MAX_BYTES:
        raise ShapingError(
            f"the attributes of {whose} have {len(text):,} bytes, Customer.io takes {ITEM_MAX_BYTES:,} for all of an "
            "operation"
        )
    if b"null" in text:  # as orjson writes NaN
        for name, value in held.items():
            if _has_no_number(value):
                raise ShapingError(f"attribute {name} of {whose} is no number (NaN or infinite)")


def _check_value(name: str, value: Any, whose: str) -> None:
    """One value of attributes that are not JSON as a whole."""
    fault = _fault(value, 0, [MEMBERS_MAX])
    if fault is not None:
        raise ShapingError(f"attribute {name} of {whose} {fault}")


MEMBERS_MAX: Final = 100_000
"""How many members are searched for the fault; a value that contains itself twice has no end."""


def _fault(value: Any, depth: int, left: list[int]) -> str | None:
    left[0] -= 1
    if depth > DEPTH_MAX or left[0] < 0:
        return "contains itself, or is nested too deep or too large"
    if isinstance(value, float):
        return None if isfinite(value) else "is no number (NaN or infinite)"
    if value is None or isinstance(value, str | bool | int):
        return None
    if isinstance(value, Mapping):
        if any(not isinstance(key, str) for key in value):
            return "has a member whose name is no text"
        members = list(value.values())
    elif isinstance(value, list | tuple):
        members = list(value)
    else:
        return f"is {_kind(value)}: JSON has text, numbers, true, false, null, lists and objects"
    return next((fault for member in members if (fault := _fault(member, depth + 1, left)) is not None), None)


def _has_no_number(value: Any) -> bool:
    if isinstance(value, float):
        return not isfinite(value)
    if isinstance(value, Mapping):
        return any(map(_has_no_number, value.values()))
    return isinstance(value, list | tuple) and any(map(_has_no_number, value))


def _kind(value: Any) -> str:
    """The kind of a value, for a message; never its content."""
    return "nothing (None)" if value is None else f"a {type(value).__name__}"
