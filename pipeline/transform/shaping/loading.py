"""The shaper of a process: recipes, a Python function and rules, as its settings name them, in a row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import RulesError
from pipeline.settings import PREFIX, Settings
from pipeline.transform.javascript.recipes import SUFFIX
from pipeline.transform.shaping.chain import Chain
from pipeline.transform.shaping.types import Shaper


def shaper_of(settings: Settings) -> Shaper | None:
    """The shaper that the settings ask for; None where they name none.

    Recipes come first, since they replace the default mapping's result, then Python. Rules come last: they are the
    marketer's, and may rename what code made.

    Raises:
        SettingsError: recipes cannot be used; names file, line and what to do.
        RulesError: the rules or the function cannot be used; names each fault.
    """
    parts: list[Shaper] = []
    if settings.javascript is not None:
        from pipeline.transform.javascript.recipes import load_recipes
        from pipeline.transform.javascript.shaper import JavaScript

        parts.append(JavaScript(load_recipes(settings.javascript), settings.person_id_chain))
    if settings.transform is not None:
        from pipeline.transform.shaping.hook import load_hook

        hook = load_hook(settings.transform, budget_s=settings.transform_budget_seconds)
        _refuse_two_claims(parts, hook)
        parts.append(hook)
    if settings.rules is not None:
        from pipeline.transform.shaping.rules.loading import load

        parts.append(load(settings.rules).rules)
    if not parts:
        return None
    return parts[0] if len(parts) == 1 else Chain(parts)


def _refuse_two_claims(recipes: Sequence[Shaper], hook: Shaper) -> None:
    """Refuse a type that both recipes and the function claim: the result of one of them could be lost."""
    twice = sorted(hook.claims.intersection(*(part.claims for part in recipes))) if recipes else []
    if twice:
        raise RulesError(
            f"{PREFIX}JAVASCRIPT and {PREFIX}TRANSFORM both claim {', '.join(twice)}: rename the file {twice[0]}.js, "
            "or leave the type out of the function's claims"
        )


def checked_shaper_of(settings: Settings, *, observe: Callable[[Any], None] | None = None) -> Shaper | None:
    """The same, for a worker: the tests beside the rules must pass, and `observe` gets a `HookCalled` per slow call.

    Raises:
        RulesError: names each fault, or each case that does not pass.
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
    """The files whose changes are loaded while the transform runs. A change of Python code takes a restart."""
    found: list[Path] = []
    if settings.javascript is not None:
        found += [settings.javascript, *(settings.javascript.glob(f"*{SUFFIX}"))]
    if settings.rules is not None:
        from pipeline.transform.shaping.rules.cases import beside

        found += [settings.rules, beside(settings.rules)]
    return tuple(sorted(found))
