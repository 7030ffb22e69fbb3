"""Questions to servers on this machine, over plain HTTP."""

from __future__ import annotations

import ssl
from typing import Any, Final

import httpx

NOBODY: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Trusts no certificate, so that no https:// is answered. httpx would read the machine's 150 authorities for each
client: 28 ms of processor time, half of a core where a test asks twenty times a second."""


def local_client(base_url: str = "", *, timeout: float = 60, **options: Any) -> httpx.AsyncClient:
    """A client for http:// that no proxy of the environment comes between; `timeout` in seconds."""
    return httpx.AsyncClient(base_url=base_url, timeout=timeout, verify=NOBODY, trust_env=False, **options)
