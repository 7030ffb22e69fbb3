"""Where this project leans on what a library keeps for itself: read from our code, so that no place is forgotten.

Four kinds: a private attribute of an object that is not ours, a private attribute that a class of ours inherits, a name
of a library's class that a class of ours overrides, and a name of a library's module that is replaced.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Final

ROOT: Final = Path(__file__).parents[1]

LIBRARIES: Final = frozenset({"aiokafka", "faust", "httpcore", "httpx", "mode"})
"""Those with parts that are overridden. What pydantic, starlette or typer offer is meant to be."""

INVITING: Final = ("aiokafka.protocol.",)
"""Modules with base classes that are made to be filled in."""

INTERFACES: Final = frozenset({"AsyncNetworkBackend", "AsyncNetworkStream"})
"""Classes of httpcore's that are: its documentation has them as the seam to the network."""

APPS: Final = frozenset({"pipeline.__main__", "pipeline.transform.app", "pipeline.sink.app"})
"""Modules that do something when they are imported; they have no classes."""

KNOWN: Final = {
    "_asdict": "a named tuple's, documented",
    "_make": "a named tuple's, documented",
    "_replace": "a named tuple's, documented",
    "_exit": "os._exit, documented",
    "on_start": "mode's, made to be overridden",
    "on_stop": "mode's, made to be overridden",
    "_Database": "lmdb's name for the class of a database, in annotations alone",
    "_files": "a private attribute of our Settings, as pydantic documents them",
    "_launch": "LocalKafka's, ours",
    "_detached": "LocalKafka's, ours",
}


@dataclass(frozen=True, order=True)
class Use:
    """One place.

    Attributes:
        name: what is used.
        owners: the library's classes that may have it; none when the code does not tell.
        place: file and line.
    """

    name: str
    owners: tuple[str, ...]
    place: str

    @property
    def names(self) -> set[str]:
        """How a pin may call it, `Class.name`; for an unknown class any."""
        return {f"{owner}.{self.name}" for owner in self.owners}


def uses() -> list[Use]:
    """Every place in the package."""
    found: list[Use] = []
    for path in sorted((ROOT / "pipeline").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        place = str(path.relative_to(ROOT))
        found += _on_others(tree, place)
        found += _replaced(tree, place)
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        if module not in APPS:
            found += _by_classes(importlib.import_module(module), place)
    return sorted(found)


def is_private(name: str) -> bool:
    """Whether its owner keeps it to itself."""
    return name.startswith("_") and not name.startswith("__")


def _on_others(tree: ast.AST, place: str) -> Iterator[Use]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr) and node.attr not in KNOWN:
            owner = node.value
            mine = isinstance(owner, ast.Name) and owner.id in {"self", "cls"}
            if not (mine or _is_super(owner)):
                yield Use(node.attr, (), f"{place}:{node.lineno}")


def _replaced(tree: ast.AST, place: str) -> Iterator[Use]:
    """Names of a library's module that are given another value."""
    modules: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] in LIBRARIES:
            modules |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            modules |= {alias.asname or alias.name: alias.name for alias in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and isinstance(node.value, ast.Name):
            module = modules.get(node.value.id, "")
            if module.partition(".")[0] in LIBRARIES:
                yield Use(node.attr, (module.rpartition(".")[2],), f"{place}:{node.lineno}")


def _by_classes(module: ModuleType, place: str) -> Iterator[Use]:
    for cls in list(vars(module).values()):
        if inspect.isclass(cls) and cls.__module__ == module.__name__:
            bases = [base for base in cls.__mro__ if _is_a_librarys(base)]
            if bases:
                yield from _overridden(cls, bases, place)
                yield from _inherited(cls, bases, place)


def _is_a_librarys(base: type) -> bool:
    inviting = base.__module__.startswith(INVITING) or base.__name__ in INTERFACES
    return base.__module__.partition(".")[0] in LIBRARIES and not inviting


def _body(cls: type) -> tuple[ast.ClassDef, int]:
    lines, first = inspect.getsourcelines(cls)
    tree = ast.parse(textwrap.dedent("".join(lines))).body[0]
    assert isinstance(tree, ast.ClassDef)
    return tree, first - 1


def _overridden(cls: type, bases: list[type], place: str) -> Iterator[Use]:
    body, before = _body(cls)
    for node in body.body:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                names = [node.name]
            case ast.Assign():
                names = [target.id for target in node.targets if isinstance(target, ast.Name)]
            case _:
                continue
        for name in names:
            owners = tuple(base.__name__ for base in bases if name in vars(base))
            if owners and not name.startswith("__") and name not in KNOWN:
                yield Use(name, owners, f"{place}:{before + node.lineno}")


def _inherited(cls: type, bases: list[type], place: str) -> Iterator[Use]:
    body, before = _body(cls)
    ours = {name for base in cls.__mro__ if base.__module__.startswith("pipeline.") for name in vars(base)}
    ours |= {node.attr for node in _of_self(body) if isinstance(node.ctx, ast.Store)}
    for node in _of_self(body):
        if node.attr not in ours and is_private(node.attr):
            owners = tuple(base.__name__ for base in bases)
            yield Use(node.attr, owners, f"{place}:{before + node.lineno}")


def _of_self(body: ast.AST) -> Iterator[ast.Attribute]:
    for node in ast.walk(body):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self":
            yield node


def _is_super(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "super"
