"""A recipe's syntax tree, by tree-sitter: tolerant of errors, with the place of everything."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pipeline.errors import InputError

if TYPE_CHECKING:
    from tree_sitter import Node


def parse(source: str) -> Node:
    """The tree of a script.

    Raises:
        InputError: the parser is not installed.
    """
    try:
        import tree_sitter
        import tree_sitter_javascript
    except ImportError:
        raise InputError(
            "a recipe's faults are found with the extra: pip install 'dodo-customerio[javascript]'"
        ) from None
    language = tree_sitter.Language(tree_sitter_javascript.language())
    return tree_sitter.Parser(language).parse(source.encode()).root_node


def walk(node: Node) -> Iterator[Node]:
    """The node and everything below it, in the order of the text."""
    stack = [node]
    while stack:
        one = stack.pop()
        yield one
        stack.extend(reversed(one.children))


def place(node: Node) -> tuple[int, int]:
    """Line and column of its first character, from 1; columns in characters."""
    row, column = node.start_point
    before = _line_of(node)[:column]
    return row + 1, len(before.decode("utf-8", "replace")) + 1


def _line_of(node: Node) -> bytes:
    root = node
    while root.parent is not None:
        root = root.parent
    lines = (root.text or b"").split(b"\n")
    row = node.start_point[0] - root.start_point[0]
    return b" " * (root.start_point[1] if row == 0 else 0) + lines[row] if row < len(lines) else b""


def text(node: Node | None) -> str:
    """Its source."""
    return "" if node is None or node.text is None else node.text.decode("utf-8", "replace")


def string(node: Node | None) -> str | None:
    """The value of a string without escapes; None of anything else."""
    if node is None or node.type not in {"string", "template_string"}:
        return None
    return text(node)[1:-1]


def pairs(node: Node) -> dict[str, tuple[Node, Node]]:
    """The members of an object literal by name: the whole pair, and its value."""
    found = {}
    for pair in node.named_children:
        if pair.type == "shorthand_property_identifier":
            found[text(pair)] = (pair, pair)
        key, value = pair.child_by_field_name("key"), pair.child_by_field_name("value")
        if pair.type == "pair" and key is not None and value is not None:
            found[string(key) or text(key)] = (pair, value)
    return found


def property_of(node: Node) -> str:
    """The last name of a member expression: `a.b?.c` → `c`; empty of anything else."""
    while node.type == "parenthesized_expression" and node.named_children:
        node = node.named_children[0]
    return text(node.child_by_field_name("property")) if node.type == "member_expression" else ""


def is_optional(node: Node) -> bool:
    """Whether a member expression is `a?.b`."""
    return any(child.type == "optional_chain" for child in node.children)
