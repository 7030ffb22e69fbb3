"""The proxies that the environment names, held against what the HTTP client can use.

httpx reads `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`, in either case, when a client is made; what it
cannot use it raises as ImportError, ValueError or InvalidURL, which name no variable.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from pipeline.errors import SettingsError
from pipeline.plain_httpx import httpx

C = TypeVar("C", httpx.AsyncClient, httpx.Client)

VARIABLES: Final = ("http_proxy", "https_proxy", "all_proxy")
FORM: Final = "give it as http://host:port, or unset it"


def heeding(make: Callable[[], C]) -> C:
    """The client that `make` makes.

    Raises:
        SettingsError: a variable names a proxy that cannot be used; without its value, which may have credentials.
    """
    try:
        return make()
    except (ImportError, ValueError, httpx.InvalidURL):
        if text := fault(os.environ):
            raise SettingsError(text) from None
        raise


def fault(environ: Mapping[str, str]) -> str | None:
    """What is wrong with the proxies of `environ`, and with which variable."""
    for name, value in environ.items():
        lower = name.lower()
        if lower in VARIABLES and value and (text := _of_proxy(value)):
            return f"{name}: {text}"
        if lower == "no_proxy":
            for number, host in enumerate(value.split(","), 1):
                if not _is_host(host.strip()):
                    return (
                        f"{name}: its entry {number} is no host name, address or .domain: a range of IPv6 addresses "
                        "cannot be given, and a port goes behind a name"
                    )
    return None


def _of_proxy(value: str) -> str | None:
    text = value if "://" in value else f"http://{value}"
    if text.lower().startswith("socks"):
        return f"a SOCKS proxy cannot be used here; name one that speaks HTTP: {FORM}"
    try:
        proxy = httpx.Proxy(text)
    except (ValueError, httpx.InvalidURL):
        return f"this is no address of a proxy: {FORM}"
    return None if proxy.url.host else f"it names no host: {FORM}"


def _is_host(host: str) -> bool:
    if host.count(":") > 1 and "://" not in host:
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            return False
        return True
    try:
        httpx.URL(host if "://" in host else f"all://*{host}")
    except httpx.InvalidURL:
        return False
    return True
