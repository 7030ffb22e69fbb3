"""The link under which customers manage their subscription: the operator's template, filled in for one customer.

Dodo's customer portal has an address for each business (https://docs.dodopayments.com/features/customer-portal); a
shop's own account page does as well.
"""

from __future__ import annotations

from string import Formatter
from typing import Literal
from urllib.parse import quote

Placeholder = Literal["business_id", "customer_id", "subscription_id"]


def portal_link(template: str, ids: dict[Placeholder, str | None]) -> str | None:
    """The template with the ids in it, quoted whole so that none changes the address; None without one it asks for."""
    asked = {name for _, name, _, _ in Formatter().parse(template) if name is not None}
    found = {name: quote(value, safe="") for name, value in ids.items() if value is not None}
    return template.format(**found) if asked <= found.keys() else None
