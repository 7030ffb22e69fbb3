"""Makes rules of a file's nodes: each member is known and of the right kind, or a fault names what would be right."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, get_args

from pipeline.customerio.attributes import fit_attributes
from pipeline.customerio.limits import EVENT_NAME_MAX_BYTES
from pipeline.dodo.catalogue import TYPES, Family
from pipeline.transform.shaping.rules.catalogue import EVENT_NAMES, types_of_family
from pipeline.transform.shaping.rules.document import At, Fault, Node, meant
from pipeline.transform.shaping.rules.expressions import Expression
from pipeline.transform.shaping.rules.model import (
    Addition,
    Changes,
    Constant,
    Dropping,
    Renaming,
    Rule,
    Setting,
    Target,
)
from pipeline.transform.shaping.rules.words import ExpressionFault

FILE: Final = ("version", "rules", "known_attributes")
RULE: Final = ("name", "match", "when", "rename", "drop", "event", "profile", "add")
MATCH: Final = ("type", "family", "event")
CHANGES: Final = ("rename", "drop", "set")
ADDITION: Final = ("name", "key", "copy", "set")
VALUE: Final = ("cel", "path", "value")
DROPS: Final[tuple[str, ...]] = (*get_args(Target), "both")
VERSION: Final = 1

OURS: Final = frozenset({"id", "timestamp", "identifiers", "action", "type"})
"""Members of an operation beside its attributes."""

Members = Mapping[str, tuple[At, Node]]
NONE: Final[Members] = MappingProxyType({})


class Reader:
    """Reads one file's rules, and collects all faults instead of stopping at the first."""

    def __init__(self, path: Path) -> None:
        self._file = path.name
        self.faults: list[Fault] = []
        self.known_attributes: frozenset[str] = frozenset()

    def rules(self, root: Node) -> list[Rule]:
        """The rules in their order."""
        members = self._members(root, FILE, "the file")
        if (version := members.get("version")) is not None and version[1].value != VERSION:
            self._fault(version[1].at, f"version {version[1].plain()!r} is not known here; there is {VERSION}")
        if (known := members.get("known_attributes")) is not None:
            self.known_attributes = frozenset(self._texts(known[1], "an attribute's name"))
        if "rules" not in members:
            if root.kind == "mapping":
                self._fault(root.at, "there are no rules; the least is rules: []")
            return []
        node = members["rules"][1]
        if node.kind != "list":
            self._fault(node.at, "rules is a list: each rule begins with a dash")
            return []
        return [rule for element in node.elements if (rule := self._rule(element)) is not None]

    def _rule(self, node: Node) -> Rule | None:
        members = self._members(node, RULE, "a rule")
        if not members:
            if node.kind == "mapping":
                self._fault(node.at, f"this rule is empty; a rule has {', '.join(RULE)}")
            return None
        title = self._optional_text(members, "name") or f"line {node.at.line}"
        match = members.get("match")
        types, events = self._match(match[1]) if match is not None else (None, None)
        rename = members.get("rename")
        rule = Rule(
            at=node.at,
            title=title,
            types=types,
            events=events,
            match_at=match[1].at if match is not None else None,
            when=self._expression(members["when"][1]) if "when" in members else None,
            rename=self._event_name(rename[1]) if rename is not None else None,
            rename_at=rename[1].at if rename is not None else None,
            drop=self._drop(members["drop"][1]) if "drop" in members else frozenset(),
            event=self._changes(members["event"][1], "event") if "event" in members else Changes(),
            profile=self._changes(members["profile"][1], "profile") if "profile" in members else Changes(),
            add=tuple(self._additions(members["add"][1])) if "add" in members else (),
        )
        if not ({"rename", "drop", "event", "profile", "add"} & set(members)):
            self._fault(node.at, "this rule does nothing: it needs one of rename, drop, event, profile, add")
        return rule

    def _match(self, node: Node) -> tuple[frozenset[str] | None, frozenset[str] | None]:
        members = self._members(node, MATCH, "match")
        if not members and node.kind == "mapping":
            self._fault(node.at, "an empty match: leave it out for all webhooks")
        types: set[str] = set()
        if "type" in members:
            types |= self._known(members["type"][1], "a Dodo type", TYPES)
        if "family" in members:
            families = self._known(members["family"][1], "a family", [family.value for family in Family])
            types |= {type_ for family in families for type_ in types_of_family(family)}
        events = self._known(members["event"][1], "an event", EVENT_NAMES) if "event" in members else None
        limited = "type" in members or "family" in members
        return frozenset(types) if limited else None, frozenset(events) if events is not None else None

    def _known(self, node: Node, what: str, known: Any) -> set[str]:
        found = set()
        for name, at in self._placed_texts(node, what):
            if name in known:
                found.add(name)
            else:
                self._fault(at, f"'{name}' is not {what} of the catalogue{meant(name, known)}")
        return found

    def _drop(self, node: Node) -> frozenset[Target]:
        word = self._text(node, "drop")
        if word == "both":
            return frozenset(get_args(Target))
        if word is not None and word not in DROPS:
            self._fault(node.at, f"drop is one of {', '.join(DROPS)}{meant(word, DROPS)}")
        return frozenset(target for target in get_args(Target) if target == word)

    def _changes(self, node: Node, what: str) -> Changes:
        members = self._members(node, CHANGES, what)
        rename, drop, settings = (members.get(name) for name in CHANGES)
        return Changes(
            rename=tuple(self._renamings(rename[1])) if rename is not None else (),
            drop=tuple(self._droppings(drop[1])) if drop is not None else (),
            set=tuple(self._settings(settings[1])) if settings is not None else (),
        )

    def _renamings(self, node: Node) -> list[Renaming]:
        found = []
        for old, at, value in self._pairs(node, "rename maps an attribute's name to the one that goes out"):
            new = self._text(value, f"the new name of {old}")
            if old in OURS:
                self._ours(old, at)
            elif new is not None and self._attribute_name(new, value.at):
                if new == old:
                    self._fault(value.at, f"{old} is called so already")
                found.append(Renaming(old, new, at))
        return found

    def _droppings(self, node: Node) -> list[Dropping]:
        found = []
        for pattern, at in self._placed_texts(node, "an attribute's name"):
            if pattern in OURS:
                self._ours(pattern, at)
            else:
                found.append(Dropping(pattern, at))
        return found

    def _settings(self, node: Node) -> list[Setting]:
        found = []
        for name, at, value in self._pairs(node, "set maps an attribute's name to its value"):
            if name in OURS:
                self._ours(name, at)
            elif self._attribute_name(name, at) and (what := self._value(value)) is not None:
                found.append(Setting(name, what, at))
        return found

    def _value(self, node: Node) -> Constant | Expression | None:
        if node.kind == "scalar":
            return Constant(node.value)
        if node.kind == "list":
            return Constant(node.plain())
        members = self._members(node, VALUE, "a value that is no constant")
        if len(members) != 1:
            if members or not node.members:
                self._fault(node.at, "a value is a constant, or exactly one of cel, path, value")
            return None
        ((name, (_, inside)),) = members.items()
        match name:
            case "value":
                return Constant(inside.plain())
            case "cel":
                return self._expression(inside)
            case _:
                path = self._text(inside, "a path of the body")
                return self._compiled(f"webhook.{path}", inside.at) if path is not None else None

    def _additions(self, node: Node) -> list[Addition]:
        elements = node.elements if node.kind == "list" else (node,)
        found = []
        for element in elements:
            members = self._members(element, ADDITION, "an added event")
            if "name" not in members:
                if element.kind == "mapping":
                    self._fault(element.at, "an added event needs a name")
                continue
            name = self._event_name(members["name"][1])
            key = self._optional_text(members, "key")
            copies = members["copy"][1] if "copy" in members else None
            if copies is not None and type(copies.value) is not bool:
                self._fault(copies.at, "copy is true or false")
            if name is None:
                continue
            settings = self._settings(members["set"][1]) if "set" in members else []
            found.append(
                Addition(name, key or name, element.at, copies is not None and copies.value is True, tuple(settings))
            )
        return found

    # Kinds of values.

    def _members(self, node: Node, known: tuple[str, ...], what: str) -> Members:
        if node.kind != "mapping":
            self._fault(node.at, f"{what} is a mapping with {', '.join(known)}")
            return NONE
        for name, at, _ in node.members:
            if name not in known:
                self._fault(at, f"unknown field '{name}' in {what}{meant(name, known)}; it has {', '.join(known)}")
        return {name: (at, member) for name, at, member in node.members if name in known}

    def _pairs(self, node: Node, what: str) -> tuple[tuple[str, At, Node], ...]:
        if node.kind == "mapping" and node.members:
            return node.members
        self._fault(node.at, what)
        return ()

    def _texts(self, node: Node, what: str) -> list[str]:
        return [text for text, _ in self._placed_texts(node, what)]

    def _placed_texts(self, node: Node, what: str) -> list[tuple[str, At]]:
        elements = node.elements if node.kind == "list" else (node,)
        if not elements:
            self._fault(node.at, f"an empty list; it needs {what}")
        return [(text, element.at) for element in elements if (text := self._text(element, what)) is not None]

    def _text(self, node: Node, what: str) -> str | None:
        if node.kind == "scalar" and isinstance(node.value, str) and node.value.strip():
            return node.value
        self._fault(node.at, f"{what} is text")
        return None

    def _optional_text(self, members: Members, name: str) -> str | None:
        return self._text(members[name][1], name) if name in members else None

    def _event_name(self, node: Node) -> str | None:
        name = self._text(node, "an event's name")
        if name is not None and len(name.strip().encode()) > EVENT_NAME_MAX_BYTES:
            self._fault(node.at, f"an event's name has at most {EVENT_NAME_MAX_BYTES} bytes")
            return None
        return name.strip() if name is not None else None

    def _attribute_name(self, name: str, at: At) -> bool:
        """Whether Customer.io takes an attribute under exactly this name."""
        fitted, cuts = fit_attributes({name: True})
        if not cuts and name in fitted:
            return True
        why = {"reserved": "steers Customer.io itself", "renamed": "has a dot, which would nest it"}
        self._fault(at, f"'{name}' cannot be an attribute: it {why.get(cuts[0].reason, 'is empty or over 150 bytes')}")
        return False

    def _expression(self, node: Node) -> Expression | None:
        if node.kind == "scalar" and type(node.value) is bool:
            return self._compiled("true" if node.value else "false", node.at)
        source = self._text(node, "an expression")
        return self._compiled(source, node.at) if source is not None else None

    def _compiled(self, source: str, at: At) -> Expression | None:
        try:
            return Expression(source, at, self._file)
        except ExpressionFault as error:
            self._fault(at, str(error))
            return None

    def _ours(self, name: str, at: At) -> None:
        self._fault(at, f"{name} is the pipeline's own: without it an event would be doubled, late or another person's")

    def _fault(self, at: At, message: str) -> None:
        self.faults.append(Fault(at, message))
