"""The limits of the Track API v2, each with where it is published.

Source unless noted otherwise: the limits sections of https://docs.customer.io/integrations/api/track/ (OpenAPI
document, August 2026). Where the text contradicts itself ("smaller than 32kb" and "32kb or smaller", kb undefined) the
figure here is the smallest reading, which is valid under every other one.
"""

from __future__ import annotations

from typing import Final

ITEM_MAX_BYTES: Final = 32_000
"""One operation of a batch, serialised. "Each of the requests within a batch must also be 32kb or smaller"."""

BODY_MAX_BYTES: Final = 499_999
"""A whole batch request with its wrapper. "Your batch request must be smaller than 500kb"."""

PERSON_ID_MAX_BYTES: Final = 150
"""A person's id. Another page says characters; bytes fit both."""

EVENT_NAME_MAX_BYTES: Final = 100
"""An event's name, after the trimming that Customer.io does itself."""

ATTRIBUTE_NAME_MAX_BYTES: Final = 150

ATTRIBUTE_VALUE_MAX_BYTES: Final = 1_000
"""One attribute's value. Longer ones are refused, not cut: "property value cannot be longer than 1000 bytes"."""

ATTRIBUTES_MAX: Final = 300
"""Attributes of a person, and of one identify call."""

TIMESTAMP_MIN_S: Final = 1_000_000_000
TIMESTAMP_MAX_S: Final = 99_999_999_999
"""The range that Customer.io's own Ruby library accepts as unix seconds; milliseconds and zero are outside of it."""

EVENT_MESSAGE_OVERRIDES: Final = frozenset({"recipient", "from_address", "reply_to"})
"""Event attributes that redirect the mail which the event causes: a payload must never decide where mail is sent."""

ADDRESSING: Final = frozenset({"id", "cio_id", "anonymous_id", "_update", "_timestamp", "cio_relationships"})
"""Names that address a person or control a call; as plain attributes they are refused, ignored or change the call."""

SUBSCRIBING: Final = frozenset({"unsubscribed", "cio_subscription_preferences"})
"""Attributes that decide whether a person gets mail: only the person and the workspace may set them
(https://docs.customer.io/messaging/people/reserved-attributes/)."""

RESERVED_PREFIXES: Final = ("_", "cio_")
"""What Customer.io's own attributes begin with: `_update`, `_created_in_customerio_at`, `_last_emailed`, `cio_id`, …"""

RESERVED_ATTRIBUTES: Final = EVENT_MESSAGE_OVERRIDES | ADDRESSING | SUBSCRIBING
"""Attribute names that are never sent."""

CAMPAIGN_WINDOW_S: Final = 72 * 3600
"""Only events younger than this start campaigns (https://docs.customer.io/journeys/importing-old-data/)."""
