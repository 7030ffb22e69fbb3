"""What users change about what is sent: a shaper stands between the mapping's decision and its encoding.

Promises: an event keeps the id of its fact whatever it is called, the person, the times, the barrier and what counts as
told stay the pipeline's, and a shaper that fails is a dead letter (`transform-failed`) that a replay delivers once.
`types` is the seam and the public API; `applied` runs a shaper and holds it to the promises; `known` is what a shaper
may ask about the customer. Without a shaper nothing of this room runs.
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
