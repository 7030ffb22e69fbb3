"""Makes a sample recent and new: its times are moved to now, and its object ids are replaced.

Customer.io starts no campaign for an event that is older than three days, and ignores a second one with the same id: an
unchanged sample would test neither. The person, the products and the shop stay as they are.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Final

import orjson

OBJECT_IDS: Final = frozenset(
    {
        "payment_id",
        "recovered_payment_id",
        "subscription_id",
        "subscription_ids",
        "refund_id",
        "dispute_id",
        "invoice_id",
        "checkout_session_id",
        "payout_id",
        "id",
    }
)
"""Fields with the id of what happened, not of the person or the product."""

UNTOUCHED: Final = frozenset({"metadata", "customer", "billing", "custom_field_responses", "discounts"})
"""Objects about something else: times and ids in them are not those of the webhook's object."""

_MOMENT = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})")
_ALPHABET: Final = "0123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def fresh(body: bytes, now: datetime, seed: str) -> bytes:
    """The body with its own time moved to `now`, all others along with it, and ids that follow from `seed`.

    A body without a time of its own keeps all its times; what is not a JSON object stays as it is.
    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return body
    if not isinstance(document, dict):
        return body
    happened = _parsed(document.get("timestamp"))
    shift = timedelta(0) if happened is None else now.replace(microsecond=0) - happened.replace(microsecond=0)
    ids: dict[str, str] = {}
    _collect(document.get("data"), ids)
    random = Random(seed)  # noqa: S311 - ids of a test
    for known in ids:
        ids[known] = _another(known, random)
    return orjson.dumps(_moved(document, shift, ids))


def _collect(node: Any, ids: dict[str, str]) -> None:
    if isinstance(node, dict):
        for name, value in node.items():
            if name in OBJECT_IDS:
                named = value if isinstance(value, list) else [value]
                ids.update({one: one for one in named if isinstance(one, str) and one})
            elif name not in UNTOUCHED:
                _collect(value, ids)
    elif isinstance(node, list):
        for element in node:
            _collect(element, ids)


def _another(known: str, random: Random) -> str:
    """Another id of the same form: its prefix, and as many characters."""
    prefix, underscore, rest = known.rpartition("_")
    made = "".join(random.choice(_ALPHABET) for _ in range(max(len(rest), 12)))
    return f"{prefix}{underscore}{made}"


def _moved(node: Any, shift: timedelta, ids: dict[str, str]) -> Any:
    match node:
        case dict():
            return {name: value if name in UNTOUCHED else _moved(value, shift, ids) for name, value in node.items()}
        case list():
            return [_moved(element, shift, ids) for element in node]
        case str() if node in ids:
            return ids[node]
        case str() if (match := _MOMENT.fullmatch(node)) is not None and (moment := _parsed(node)) is not None:
            return _written(moment + shift, match)
        case _:
            return node


def _parsed(value: Any) -> datetime | None:
    if not isinstance(value, str) or _MOMENT.fullmatch(value) is None:
        return None
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        return None


def _written(moment: datetime, match: re.Match[str]) -> str:
    """The time in the form that it had: as many digits, the same way to write the offset."""
    _, fraction, offset = match.groups()
    moment = moment.astimezone(UTC) if offset == "Z" else moment
    return f"{moment.replace(tzinfo=None, microsecond=0).isoformat()}{fraction or ''}{offset}"
