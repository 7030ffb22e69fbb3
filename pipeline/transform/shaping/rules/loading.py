"""Loads a file of rules: from its bytes to a checked shaper."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from pipeline.errors import RulesError
from pipeline.transform.shaping.rules.checking import check
from pipeline.transform.shaping.rules.compiled import Rules
from pipeline.transform.shaping.rules.document import Fault, parse, refused
from pipeline.transform.shaping.rules.reading import Reader

VERSION_CHARS = 12


class Loaded(NamedTuple):
    """Rules that can be used, and the warnings about them."""

    rules: Rules
    warnings: tuple[Fault, ...]


def version_of(text: bytes) -> str:
    """The version that operations carry: the first characters of the file's SHA-256."""
    return sha256(text).hexdigest()[:VERSION_CHARS]


def load(path: Path) -> Loaded:
    """The rules of a file, checked.

    Raises:
        RulesError: names every fault with file, line and column.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise RulesError(f"{path} cannot be read ({error.strerror or type(error).__name__})") from None
    return load_text(text, path)


def load_text(text: bytes, path: Path) -> Loaded:
    """The rules of a file's bytes; `path` is for messages.

    Raises:
        RulesError: as `load`.
    """
    reader = Reader(path)
    rules = reader.rules(parse(text, path))
    faults = reader.faults or check(rules, reader.known_attributes)
    errors = [fault for fault in faults if fault.severity == "error"]
    if errors:
        raise refused(path, errors)
    return Loaded(Rules(rules, version_of(text), path), tuple(faults))
