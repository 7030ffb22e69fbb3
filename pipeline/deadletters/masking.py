"""Masks personal data in a letter's content, for screens, tickets and logs of a terminal.

Masked by the field's name (`private_names`) are addresses, names, telephone numbers, billing addresses, card digits,
licence keys, passwords and free text that buyers type; by their form e-mail addresses, secrets, links (they may be
presigned) and long numbers. `--reveal` shows everything.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, Protocol

import orjson

from pipeline.deadletters.private_names import mask_of
from pipeline.dodo.catalogue import TYPES
from pipeline.logs import EMAIL, SECRET_SHAPES
from pipeline.reasons import LONG_NUMBER, URL

THINGS: Final = frozenset({"action", "discount_id", "meter_id", "addon_id", "product_id", "payout_id"})
"""In an object with one of these members `name` is no person's: it is an operation, or a thing of the shop."""

CUSTOMER_ID: Final = re.compile(r"(?:test_)?cus_[A-Za-z0-9]{1,64}")
"""A customer's id of Dodo, or one of this pipeline for a customer of test mode."""

OWN_ID: Final = re.compile(
    r"(?:msg_[A-Za-z0-9]{1,64}|sha256_[0-9a-f]{64})(?::[a-z]{1,16}(?:-[a-z]{1,16}){0,2})?|[0-9A-HJKMNP-TV-Z]{26}"
)
"""A webhook's id of Dodo, or the one that it gets without a header, with what an operation's id adds to it; and an
event's id (a ULID)."""

PLACE: Final = re.compile(r"(?:[\w.-]{1,249}/)?\d{1,10}/\d{1,19}")
"""Partition and offset, behind a topic."""

MIN_WORD: Final = 2
"""Characters of a name from which on it is masked in texts: a single letter would be masked all over a reason."""

MAX_DEPTH: Final = 64
"""Levels of a body; deeper parts are left out, so that no body can exhaust the stack."""


def mask_text(text: str, private: Iterable[str] = ()) -> str:
    """`text` without addresses, secrets, links, long numbers and the words of `private`."""
    folded = text.lower()
    for word in private:
        if word.lower() not in folded:  # spares the costly compilation of a pattern for each word of each letter
            continue
        beside = r"\w/" if word.isdigit() else r"\w"  # a card's month may be a partition
        text = re.sub(rf"(?<![{beside}]){re.escape(word)}(?![{beside}])", "[private]", text, flags=re.IGNORECASE)
    text = EMAIL.sub("[email]", text)
    text = SECRET_SHAPES.sub("[secret]", text)
    text = URL.sub("[url]", text)
    return LONG_NUMBER.sub("[number]", text)


def mask_person(key: bytes | None) -> str:
    """The key of a record, masked: Dodo's own customer id stays, since it identifies nobody to an outsider.

    Any other key is hidden: the id that an identity policy uses may be an address or a name.
    """
    text = (key or b"").decode("utf-8", "replace")
    if not text or CUSTOMER_ID.fullmatch(text):
        return text
    masked = mask_text(text)
    return masked if masked in {"[email]", "[number]"} else "[id]"


def mask_key(key: bytes) -> str:
    """The key of a record, masked: that of a webhook without a customer is the webhook's id."""
    text = key.decode("utf-8", "replace")
    return text if OWN_ID.fullmatch(text) else mask_person(key)


class Mask(Protocol):
    """Masks a text as `mask_text` does."""

    def __call__(self, text: str, private: Iterable[str] = ()) -> str:
        """The text, without what is private."""


def mask_unless(is_ours: Callable[[str], object]) -> Mask:
    """What masks a text in a place for words of ours: those stay, whatever is in them; anybody may write others."""

    def mask(text: str, private: Iterable[str] = ()) -> str:
        return text if is_ours(text) else mask_text(text, private)

    return mask


mask_id: Final = mask_unless(OWN_ID.fullmatch)
"""A webhook's or an operation's id: one searches by it."""

mask_place: Final = mask_unless(PLACE.fullmatch)
"""Where a record lies."""

mask_type: Final = mask_unless(TYPES.__contains__)
"""A webhook's type."""


def mask_body(body: Any, private: Iterable[str] = ()) -> Any:
    """A decoded webhook or operation, masked; its structure, ids, amounts, times and codes stay.

    The words of `private` are hidden in every field: a user's rules may put a person's name into any.
    """
    return _mask(body, None, 0, tuple(private))


def private_words(*bodies: Any) -> tuple[str, ...]:
    """The texts that `mask_body` hides by their field's name, longest first, to hide them in a reason as well."""
    found = {word for body in bodies for word in _words(body, None, 0)}
    return tuple(sorted(found, key=lambda word: (-len(word), word)))


def private_in(*values: bytes | None) -> tuple[str, ...]:
    """The same for the values of records; one that is not JSON has none."""
    return private_words(*map(_decoded, values))


def _decoded(value: bytes | None) -> Any:
    try:
        return orjson.loads(value or b"")
    except orjson.JSONDecodeError:
        return None


def _mask(node: Any, mask: str | None, depth: int, private: tuple[str, ...]) -> Any:
    if depth > MAX_DEPTH:
        return "…"
    match node:
        case dict():
            return {
                mask_text(key): _mask(_of_person(key, value, node), mask or _mask_of(key, node), depth + 1, private)
                for key, value in node.items()
            }
        case list():
            return [_mask(item, mask, depth + 1, private) for item in node]
        case str():
            return mask if mask and node else mask_text(node, private)
        case bool() | None:
            return node
        case _:
            return mask or node


def _words(node: Any, mask: str | None, depth: int) -> Iterator[str]:
    if depth > MAX_DEPTH:
        return
    match node:
        case dict():
            for key, value in node.items():
                yield from _words(_of_person(key, value, node), mask or _mask_of(key, node), depth + 1)
        case list():
            for item in node:
                yield from _words(item, mask, depth + 1)
        case str() if mask and len(node.strip()) >= MIN_WORD:
            yield node.strip()


class _OfPerson(dict[str, Any]):
    """Attributes of an operation: a `name` among them is the person's, even beside fields of a product."""


def _of_person(key: str, value: Any, within: dict[str, Any]) -> Any:
    return _OfPerson(value) if key == "attributes" and "action" in within and isinstance(value, dict) else value


def _mask_of(key: str, within: dict[str, Any]) -> str | None:
    if key == "name" and not isinstance(within, _OfPerson) and not THINGS.isdisjoint(within):
        return None
    return mask_of(key)
