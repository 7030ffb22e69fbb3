"""The shaper of a process: whatever its settings name, one behind the other."""

from __future__ import annotations

from pipeline.settings import Settings
from pipeline.transform.shaping.chain import Chain
from pipeline.transform.shaping.types import Shaper


def shaper_of(settings: Settings) -> Shaper | None:
    """What shapes operations; None where no setting names anything.

    Recipes come first, since they stand in the place of the default mapping. Rules come last: they are the marketer's,
    and may rename what code made.

    Raises:
        SettingsError: recipes that cannot be used; file, line and what to do.
        RulesError: naming each fault of a file or of code.
    """
    parts: list[Shaper] = []
    if settings.javascript is not None:
        from pipeline.transform.javascript.recipes import load_recipes
        from pipeline.transform.javascript.shaper import JavaScript

        parts.append(JavaScript(load_recipes(settings.javascript), settings.person_id_chain))
    if settings.rules is not None:
        from pipeline.transform.shaping.rules.loading import load

        parts.append(load(settings.rules).rules)
    if not parts:
        return None
    return parts[0] if len(parts) == 1 else Chain(parts)
