"""Webhooks that are nobody's: what the vendor's dashboard sends as an example, signed like a real one.

"Send example" in the Testing tab goes to the live endpoint with its live secret, and a pipeline that believed it made a
customer of test@acme.com.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlsplit

from pipeline.transform.fields import members

EXAMPLE_IDS: Final = frozenset(
    {
        "pay_2IjeQm4hqU6RA4Z4kwDee",
        "cus_8VbC6JDZzPEqfB",
        "cus_8VbC6JDZzPEqfBPUdpj0K",
        "sub_7EeHq2ewQuadropD2ra",
    }
)
"""The fixed ids of the vendor's examples (dashboard's "Send example", OpenAPI and docs). Ids are compared whole; the
example's e-mail and business are not looked at, since somebody may really have them."""

TEST_CHECKOUT: Final = "test.checkout.dodopayments.com"
"""The host of test-mode checkouts; no live payment has a link there."""


def is_vendor_example(data: dict[str, Any]) -> bool:
    """Whether `data` carries an example's id or a test checkout's link."""
    ids = (
        members(data.get("customer")).get("customer_id"),
        data.get("payment_id"),
        data.get("customer_id"),
        data.get("subscription_id"),
    )
    for value in ids:
        if type(value) is str and value.strip() in EXAMPLE_IDS:
            return True
    link = data.get("payment_link")
    return type(link) is str and TEST_CHECKOUT in link.lower() and _host(link) == TEST_CHECKOUT


def _host(link: str) -> str | None:
    try:
        return urlsplit(link.strip() if "://" in link else f"//{link.strip()}").hostname
    except ValueError:
        return None
