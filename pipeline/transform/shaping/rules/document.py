"""Reads YAML from its nodes, with the line and column of each value, so that each fault has its place.

YAML 1.1 reads `no`, `on` and `2026-01-01` as booleans and dates. A file about what is sent to customers must not turn
the country `NO` into false, so these are faults unless they are quoted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import yaml

from pipeline.customerio.attributes import INTEGER_MAX, INTEGER_MIN
from pipeline.errors import RulesError

MAX_BYTES: Final = 1_000_000
"""Of a file: as much as a Kubernetes ConfigMap holds."""

MAX_DEPTH: Final = 32
MAX_NODES: Final = 200_000
"""A bound on a file's values: aliases of aliases make billions of them out of a few lines."""

MAX_DIGITS: Final = 21
"""Of a number of 64 bits, and its sign. Python makes no number of thousands of digits, and raises."""

Severity = Literal["error", "warning"]


class At(NamedTuple):
    """A place in the file, both from 1."""

    line: int
    column: int


class Fault(NamedTuple):
    """What is wrong, where, and what would be right."""

    at: At
    message: str
    severity: Severity = "error"

    def shown(self, path: Path) -> str:
        """`path:line:column: message`, as compilers write it, so that editors find the place."""
        word = "" if self.severity == "error" else "warning: "
        return f"{path}:{self.at.line}:{self.at.column}: {word}{self.message}"


class Node(NamedTuple):
    """One value: a mapping's members, a list's elements or a scalar's value."""

    at: At
    kind: Literal["mapping", "list", "scalar"]
    members: tuple[tuple[str, At, Node], ...] = ()
    elements: tuple[Node, ...] = ()
    value: Any = None

    def plain(self) -> Any:
        """The value without places."""
        match self.kind:
            case "mapping":
                return {name: member.plain() for name, _, member in self.members}
            case "list":
                return [element.plain() for element in self.elements]
            case _:
                return self.value


def refused(path: Path, faults: Iterable[Fault]) -> RulesError:
    """The error that lists all faults of a file, in the order of their places."""
    return RulesError("\n".join(fault.shown(path) for fault in sorted(faults, key=lambda fault: fault.at)))


def read(path: Path) -> Node:
    """The file's value.

    Raises:
        RulesError: it cannot be read, is not YAML, or has an unquoted word that YAML reads as another kind of value.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise RulesError(f"{path} cannot be read ({error.strerror or type(error).__name__})") from None
    return parse(text, path)


def parse(text: bytes, path: Path) -> Node:
    """The value of a file's bytes; `path` is for messages.

    Raises:
        RulesError: as `read`.
    """
    if len(text) > MAX_BYTES:
        raise RulesError(f"{path} has {len(text):,} bytes; {MAX_BYTES:,} is the most that is read")
    try:
        root = yaml.compose(text.decode("utf-8-sig"), Loader=yaml.SafeLoader)
    except UnicodeDecodeError as error:
        raise RulesError(f"{path} is not UTF-8 (byte {error.start:,})") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        place = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark is not None else str(path)
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or type(error).__name__
        context = getattr(error, "context", None)
        raise RulesError(f"{place}: not YAML: {problem}{f', {context}' if context else ''}") from None
    except RecursionError:
        raise RulesError(f"{path}: nested too deep") from None
    if root is None:
        raise RulesError(f"{path} is empty; the least is\nrules: []")
    faults = Faults()
    node = _node(root, faults, ())
    if faults:
        raise refused(path, faults)
    return node


class Faults(list[Fault]):
    """The faults of one file; `left` is how many more of its values may be read."""

    left = MAX_NODES


def _at(node: yaml.Node) -> At:
    mark = node.start_mark
    return At(mark.line + 1, mark.column + 1)


def _node(node: yaml.Node, faults: Faults, above: tuple[int, ...]) -> Node:
    at = _at(node)
    faults.left -= 1
    if faults.left <= 0:
        if faults.left == 0:
            faults.append(Fault(at, f"more than {MAX_NODES:,} values, aliases (*) counted as often as they are used"))
        return Node(at, "scalar")
    if id(node) in above:
        faults.append(Fault(at, "this contains itself (an alias of what it stands in)"))
        return Node(at, "scalar")
    if len(above) > MAX_DEPTH:
        faults.append(Fault(at, f"nested deeper than {MAX_DEPTH}"))
        return Node(at, "scalar")
    inside = (*above, id(node))
    match node:
        case yaml.MappingNode():
            return Node(at, "mapping", members=tuple(_members(node, faults, inside)))
        case yaml.SequenceNode():
            elements = (_node(element, faults, inside) for element in node.value if faults.left > 0)
            return Node(at, "list", elements=tuple(elements))
        case yaml.ScalarNode():
            return Node(at, "scalar", value=_scalar(node, faults))
        case _:
            faults.append(Fault(at, "neither a mapping, a list nor a value"))
            return Node(at, "scalar")


def _members(node: yaml.MappingNode, faults: Faults, inside: tuple[int, ...]) -> Iterator[tuple[str, At, Node]]:
    seen: dict[str, At] = {}
    for key, value in node.value:
        if faults.left <= 0:
            return
        at = _at(key)
        if not isinstance(key, yaml.ScalarNode):
            faults.append(Fault(at, "a name must be text"))
            continue
        name = key.value
        if name in seen:
            faults.append(Fault(at, f"'{name}' stands here twice, first at line {seen[name].line}: keep one"))
            continue
        seen[name] = at
        yield name, at, _node(value, faults, inside)


def _scalar(node: yaml.ScalarNode, faults: list[Fault]) -> Any:
    text = node.value
    match node.tag.removeprefix("tag:yaml.org,2002:"):
        case "str":
            return text
        case "null":
            return None
        case "bool" if text.lower() in {"true", "false"}:
            return text.lower() == "true"
        case "int" if text.lstrip("+-").isdigit() and (text.lstrip("+-") == "0" or text.lstrip("+-")[0] != "0"):
            if len(text) <= MAX_DIGITS and INTEGER_MIN <= (number := int(text)) <= INTEGER_MAX:
                return number
            faults.append(Fault(_at(node), "a number beyond 64 bits, which JSON's readers round: quote it"))
            return None
        case "float" if text.lower().lstrip("+-") not in {".inf", ".nan"} and ":" not in text and "_" not in text:
            return float(text)
        case _:
            faults.append(Fault(_at(node), f'YAML takes {text} for something else than text: quote it, "{text}"'))
            return None


def meant(word: str, known: Iterable[str]) -> str:
    """`; did you mean …?` with the known words that are spelt alike, or an empty text."""
    names = list(known)
    near = get_close_matches(word, names, n=1, cutoff=0.6)
    if not near:
        folded = {name.lower().replace("_", "").replace(".", ""): name for name in names}
        near = get_close_matches(word.lower().replace(" ", "").replace("_", "").replace(".", ""), folded, n=1)
        near = [folded[one] for one in near]
    return f"; did you mean {near[0]}?" if near else ""
