"""Dodo's REST API, as far as this project reads it: lists by creation time, one customer, one payment.

Promises: it stays below the account's rate, waits as long as a 429 asks for, retries what may succeed later, and names
plainly what is wrong with a key; nothing of a body or a key gets into a log or a message. `client` has the routes,
`requests` sends and retries, `rate` limits the rate, `listing` walks a whole collection. Routes and forms are those of
the published reference (https://docs.dodopayments.com/api-reference) and of the vendor's Python SDK 1.123.
"""

from __future__ import annotations

from pipeline.dodo.api.client import Collection, DodoApi, open_api
from pipeline.dodo.api.listing import Page, Position, walk
from pipeline.dodo.api.rate import RateLimit

__all__ = ["Collection", "DodoApi", "Page", "Position", "RateLimit", "open_api", "walk"]
