"""The shaper of a process: whatever its settings name, one behind the other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.settings import Settings
from pipeline.transform.shaping.chain import Chain
from pipeline.transform.shaping.types import Shaper


def shaper_of(settings: Settings) -> Shaper | None:
    """What shapes operations; None where no setting names anything.

    Rules come last: they are the marketer's, and may rename what code made.

    Raises:
        RulesError: naming each fault of a file or of code.
    """
    parts: list[Shaper] = []
    if settings.transform is not None:
        from pipeline.transform.shaping.hook import load_hook

        parts.append(load_hook(settings.transform, budget_s=settings.transform_budget_seconds))
    if settings.rules is not None:
        from pipeline.transform.shaping.rules.loading import load

        parts.append(load(settings.rules).rules)
    if not parts:
        return None
    return parts[0] if len(parts) == 1 else Chain(parts)


def checked_shaper_of(settings: Settings, *, observe: Callable[[Any], None] | None = None) -> Shaper | None:
    """The same, for a worker: the tests beside the rules must hold, and `observe` hears of slow calls.

    Raises:
        RulesError: naming each fault, or each case that does not hold.
    """
    shaper = shaper_of(settings)
    parts: tuple[Any, ...] = shaper.parts if isinstance(shaper, Chain) else (shaper,)
    for part in parts:
        if observe is not None and hasattr(part, "observe"):
            part.observe = observe
    if settings.rules is not None:
        from pipeline.transform.shaping.rules.cases import check_cases

        check_cases(settings.rules, parts[-1])
    return shaper


def files_of(settings: Settings) -> tuple[Path, ...]:
    """The files that a change of is taken while the transform runs. Code is read once: it takes a restart."""
    if settings.rules is None:
        return ()
    from pipeline.transform.shaping.rules.cases import beside

    return settings.rules, beside(settings.rules)
