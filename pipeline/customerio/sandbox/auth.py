"""Basic credentials as the Track API wants them: site id and API key in standard base64."""

from __future__ import annotations

import base64
import hmac


def is_authorized(header: str | None, *, site_id: str | None, api_key: str | None) -> bool:
    """Whether the Authorization header is accepted.

    Args:
        header: its value.
        site_id: the only user name that is accepted; None accepts any that is not empty.
        api_key: the only password that is accepted; None accepts any that is not empty.
    """
    scheme, _, encoded = (header or "").partition(" ")
    if scheme.lower() != "basic":
        return False
    try:
        user, colon, password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except ValueError:  # no base64, no UTF-8, or no ASCII to begin with
        return False
    return bool(colon) and _matches(user, site_id) and _matches(password, api_key)


def _matches(given: str, wanted: str | None) -> bool:
    if wanted is None:
        return bool(given)
    return hmac.compare_digest(given.encode(), wanted.encode())
