"""The shaper that a process' settings ask for."""

from __future__ import annotations

from pipeline.settings import Settings
from pipeline.transform.javascript.shaper import JavaScript
from pipeline.transform.shaping.types import Shaper


def shaper_of(settings: Settings) -> Shaper | None:
    """What shapes, in its order; None: the default mapping alone.

    Raises:
        SettingsError: what a setting names cannot be used; file, line and what to do.
    """
    return JavaScript.of(settings)
