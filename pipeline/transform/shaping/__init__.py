"""Shapers: a user's own changes to what is sent, between the mapping's decision and its encoding.

Promises: an event keeps the id of its fact under any name; the pipeline alone decides about the person, the times, the
barrier and what counts as sent; a webhook on which a shaper fails becomes a dead letter (`transform-failed`), which a
replay delivers once. `types` is the seam and the public API; `applied` calls a shaper and checks its result; `known` is
what a shaper may ask about the customer. Without a shaper nothing of this room runs.
"""

from __future__ import annotations

from pipeline.transform.shaping.claims import claims
from pipeline.transform.shaping.types import (
    Attributes,
    Event,
    Identify,
    Known,
    KnownSubscription,
    Shaped,
    ShapingError,
    Webhook,
)

__all__ = [
    "Attributes",
    "Event",
    "Identify",
    "Known",
    "KnownSubscription",
    "Shaped",
    "ShapingError",
    "Webhook",
    "claims",
]
