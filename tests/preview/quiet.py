"""A function that tells of people alone."""

from __future__ import annotations

from pipeline.transform.shaping import Known, Shaped, Webhook


def shape(_webhook: Webhook, default: Shaped, _known: Known) -> Shaped:
    """No events."""
    return Shaped(default.identify)
