"""Addresses that somebody writes into a setting, checked before anything is asked there.

An address that no client can use would else end as an error of that client, hours later and without the variable's
name. No message repeats the address: it may hold a secret that was meant for another variable.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final
from urllib.parse import SplitResult, urlsplit

MAX_PORT: Final = 65_535

NAME: Final = re.compile(r"(?=.{1,254}\Z)[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
                         r"(?:\.[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)*\.?")  # fmt: skip
"""RFC 1123 §2.1, and the underscores that Docker's names have. A dot at the end is for resolvers: the name is whole,
and no search domain is tried (Kubernetes)."""

NUMBERS: Final = re.compile(r"[0-9.]+")
"""No name: resolvers take some of these for addresses in forms that nobody means (`10.1` is 10.0.0.1)."""


def web_address(value: str) -> str:
    """`value`, if it is an http or https address of a host that a client can ask.

    Raises:
        ValueError: what is wrong with it.
    """
    parts = _parts(value)
    if parts.scheme not in ("http", "https"):
        raise ValueError("must begin with https:// (or http://)")
    if "@" in parts.netloc:
        raise ValueError("must hold no user and no password: addresses are written into logs")
    if "#" in value:
        raise ValueError("must have no # in it")
    check_host(parts.hostname or "")
    _check_port(parts)
    return value


def base_address(value: str) -> str:
    """`web_address` of what paths are appended to.

    Raises:
        ValueError: what is wrong with it.
    """
    if "?" in web_address(value):
        raise ValueError("must have no query: paths are appended to it")
    return value


def check_host(host: str) -> None:
    """A name or an address, an IPv6 address without brackets.

    Raises:
        ValueError: it is neither.
    """
    if not host:
        raise ValueError("must name a host, such as https://api.example.com")
    if ":" in host or NUMBERS.fullmatch(host):
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            raise ValueError("its host is no valid IP address") from None
        if getattr(address, "scope_id", None):
            raise ValueError("its host must be an IPv6 address without a zone")
    elif not NAME.fullmatch(host):
        raise ValueError("its host is no valid name: letters, digits, hyphens and dots (of others the form xn--…)")


def _parts(value: str) -> SplitResult:
    if any(sign.isspace() or not sign.isprintable() for sign in value):
        raise ValueError("must have no blanks and no line ends in it")
    if "\\" in value:
        raise ValueError("must have / in place of \\")
    try:
        return urlsplit(value)
    except ValueError:
        raise ValueError("its host is no valid IP address") from None


def _check_port(parts: SplitResult) -> None:
    """Behind the host comes nothing, or a colon and a port."""
    host, bracket, behind = parts.netloc.rpartition("]")
    if bracket and not (host.startswith("[") and ":" in host):
        raise ValueError("its host is no valid IP address")
    nothing, colon, port = behind.partition(":")
    if bracket and nothing:
        raise ValueError("its host is no valid IP address")
    if colon and not is_port(port):
        raise ValueError(f"its port must be a number from 1 to {MAX_PORT}")


def is_port(text: str) -> bool:
    """Whether a client can ask there: 1 to 65535."""
    return text.isascii() and text.isdigit() and len(text) <= len(str(MAX_PORT)) and 0 < int(text) <= MAX_PORT
