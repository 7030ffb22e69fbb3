"""Loads a folder of recipes, and finds which file is for which type of webhook."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from pipeline.dodo.catalogue import TYPES, Family
from pipeline.errors import SettingsError
from pipeline.settings import PREFIX

VARIABLE: Final = f"{PREFIX}JAVASCRIPT"

SUFFIX: Final = ".js"

OTHER_SUFFIXES: Final = frozenset({".mjs", ".cjs", ".ts", ".jsx", ".tsx"})
"""Files that are probably meant as recipes: they are refused, as to skip them would go unnoticed."""

RECIPE_MAX_BYTES: Final = 256 * 1024
"""The vendor's examples have 1 kB. The engine knows a recipe's lines from its own by number (`PRELUDE_LINE`)."""


class Recipe(NamedTuple):
    """One file; `types` are those that it is run for, None: all."""

    name: str
    text: str
    types: frozenset[str] | None = None

    def is_for(self, type_: str) -> bool:
        """Whether it is run for webhooks of this type."""
        return self.types is None or type_ in self.types


def load_recipes(path: Path) -> tuple[Recipe, ...]:
    """The recipes of a folder in the order of their names, or of one file.

    `payment.succeeded.js` is run for that type alone, also if this version does not know the type; `payment.js` for the
    types of that family; a file of any other name without a dot for every webhook. Hidden files and folders are
    skipped: a mounted ConfigMap has some.

    Raises:
        SettingsError: names the variable, the file, and what to do.
    """
    try:
        if not path.exists():
            raise SettingsError(f"{VARIABLE}: {path} is not there")
        files = sorted(path.iterdir()) if path.is_dir() else [path]
        found = [file for file in files if not file.name.startswith(".") and not file.is_dir()]
    except OSError as error:
        raise SettingsError(f"{VARIABLE}: {path} cannot be read: {error.strerror}") from None
    for file in found:
        if file.suffix in OTHER_SUFFIXES:
            raise SettingsError(f"{VARIABLE}: {file} would not run: recipes are plain scripts in files named …{SUFFIX}")
    recipes = tuple(read_recipe(file) for file in found if file.suffix == SUFFIX)
    if not recipes:
        raise SettingsError(f"{VARIABLE}: {path} holds no recipe: a file …{SUFFIX} with function handler(webhook)")
    return recipes


def read_recipe(file: Path) -> Recipe:
    """One file as a recipe.

    Raises:
        SettingsError: it cannot be read, is too large, or its name is a misspelt type.
    """
    try:
        content = file.read_bytes()
        text = content.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{VARIABLE}: {file} cannot be read ({type(error).__name__})") from None
    if len(content) > RECIPE_MAX_BYTES:
        raise SettingsError(f"{VARIABLE}: {file} has {len(content):,} bytes, a recipe {RECIPE_MAX_BYTES:,} at most")
    return Recipe(file.name, text, _types(file))


def version_of(recipes: Sequence[Recipe]) -> str:
    """The version of exactly these files: a hash, the same on every machine."""
    digest = hashlib.sha256()
    for recipe in recipes:
        for part in (recipe.name.encode(), recipe.text.encode()):
            digest.update(b"%d:" % len(part))
            digest.update(part)
    return digest.hexdigest()[:12]


def _types(file: Path) -> frozenset[str] | None:
    stem = file.name.removesuffix(SUFFIX)
    if stem in TYPES:
        return frozenset({stem})
    if stem in set(Family):
        return frozenset(type_ for type_, family in TYPES.items() if family == stem)
    if "." not in stem:
        return None
    if near := difflib.get_close_matches(stem, TYPES, n=1, cutoff=0.85):
        raise SettingsError(
            f"{VARIABLE}: {file} is named for a type that Dodo does not send; did you mean {near[0]}{SUFFIX}?"
        )
    return frozenset({stem})  # a type that is newer than this version
