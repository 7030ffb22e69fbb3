"""E-mail addresses as bodies bring them: what is sent on, and why the rest is not.

Customer.io wants RFC 5322 (docs.customer.io, reserved attributes) and may refuse the whole profile for an address that
is none; and with the policy `email` an address is a person, who must not be two for a character that nobody sees. What
was typed is not guessed at: only what stands around it goes.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Any, Final, NamedTuple

from pipeline.transform.characters import REPLACEMENT, has_invisible, trimmed

MAX_EMAIL_BYTES: Final = 254
"""RFC 5321 §4.5.3.1.3: a path of 256 octets, less its brackets."""

_ATOM: Final = r"[^\s@<>()\[\]\\,;:\"\x00-\x1f\x7f]+"
"""Whatever is no special of RFC 5322 §3.2.3; letters of all scripts by RFC 6532."""

_FORM: Final = re.compile(rf"{_ATOM}@{_ATOM}")

_ATEXT: Final = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_USUAL: Final = re.compile(rf"{_ATEXT}(?:\.{_ATEXT})*@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*")
"""A dot-atom of RFC 5322 §3.2.3 at letters, digits and hyphens: as it stands."""


class Reading(NamedTuple):
    """An address, None with the `fault` in words when there is none to send.

    `trimmed`: something that nobody sees was removed at an end.
    """

    address: str | None
    fault: str | None = None
    trimmed: bool = False


def address_of(value: Any) -> str | None:
    """The address that a body's e-mail is; None when there is none to send."""
    if type(value) is str and _USUAL.fullmatch(value) and len(value) <= MAX_EMAIL_BYTES:
        return value
    return read(value).address


def read(value: Any) -> Reading:
    """What a body's e-mail is worth."""
    return _read(value) if type(value) is str else Reading(None, "no text")


@lru_cache(maxsize=1024)
def _read(value: str) -> Reading:
    """Asked several times for one webhook."""
    found = trimmed(value)
    address = unicodedata.normalize("NFC", found)  # it may make a special of a character that looks like one
    if (fault := _fault(address)) is not None:
        return Reading(None, fault)
    if len(address.encode("utf-8", "surrogatepass")) > MAX_EMAIL_BYTES:
        return Reading(None, f"over {MAX_EMAIL_BYTES} bytes")
    return Reading(address, None, found != value.strip())


def _fault(address: str) -> str | None:
    if REPLACEMENT in address:
        return "a character was lost (U+FFFD)"
    if has_invisible(address):
        return "an invisible character inside"
    if address.lower().startswith("mailto:"):
        return "a mailto: link"
    if not _FORM.fullmatch(address):
        return "not of the form local@domain"
    local, _, domain = address.partition("@")
    if not all(domain.split(".")):
        return "an empty label or a trailing dot in the domain"
    if not all(local.split(".")):
        return "a dot at an end of the local part, or two in a row"
    return None
