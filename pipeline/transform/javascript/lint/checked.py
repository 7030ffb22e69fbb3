"""The whole check of recipes: syntax, known faults, and a trial on every sample."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from pipeline.errors import SettingsError
from pipeline.transform.javascript.lint.faults import FAULTS, Finding
from pipeline.transform.javascript.lint.rules import findings
from pipeline.transform.javascript.lint.trial import Trial, trial
from pipeline.transform.javascript.recipes import VARIABLE, Recipe

SHOWN_SAMPLES = 3


class Checked(NamedTuple):
    """One recipe and its findings; `trial` is None if the recipe does not start."""

    recipe: Recipe
    findings: tuple[Finding, ...]
    trial: Trial | None


def check(recipes: Sequence[Recipe], chain: tuple[str, ...]) -> tuple[Checked, ...]:
    """Check each recipe; the types that the others handle are taken into account.

    Args:
        recipes: those that run together.
        chain: the identity policy.

    Raises:
        InputError: the parser is not installed.
        SettingsError: the engine is not installed.
    """
    return tuple(_checked(recipe, recipes, chain) for recipe in recipes)


def exit_code(checked: Sequence[Checked]) -> int:
    """0: no fault, or only such as the pipeline corrects; 1: something is sent wrong; 2: something is not sent."""
    severities = {finding.fault.severity for one in checked for finding in one.findings}
    return 2 if "error" in severities else 1 if "fault" in severities else 0


def _checked(recipe: Recipe, recipes: Sequence[Recipe], chain: tuple[str, ...]) -> Checked:
    found = findings(recipe, [one for one in recipes if one is not recipe])
    try:
        tried = trial(recipe, chain)
    except SettingsError as error:
        text = str(error).removeprefix(f"{VARIABLE}: ")
        if "pip install" in text:
            raise
        return Checked(recipe, (*found, _at(recipe, "no-recipe", text, text)), None)
    known = {(finding.fault.code, finding.line) for finding in found}
    for failure in tried.failures:
        finding = _at(recipe, "fails", failure.place, f"{failure.text} ({_names(failure.samples)})")
        if not {("unguarded", finding.line), ("outside", finding.line)} & known:
            found.append(finding)
    return Checked(recipe, tuple(sorted(found, key=lambda one: one.line)), tried)


def _at(recipe: Recipe, code: str, place: str, more: str) -> Finding:
    line = re.match(rf"{re.escape(recipe.name)}:(\d+)", place)
    return Finding(FAULTS[code], recipe.name, int(line[1]) if line is not None else 1, 1, more)


def _names(names: Sequence[str]) -> str:
    left = len(names) - SHOWN_SAMPLES
    return ", ".join(names[:SHOWN_SAMPLES]) + (f" and {left} more samples" if left > 0 else "")
