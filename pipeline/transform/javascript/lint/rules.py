"""Finds the known faults in a recipe's syntax tree. Each rule is one of `faults`, under its code."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Final

from pipeline.dodo.catalogue import TYPES
from pipeline.transform.javascript.answers import OTHER_ACTIONS
from pipeline.transform.javascript.engine import ABSENT
from pipeline.transform.javascript.lint.faults import FAULTS, Finding
from pipeline.transform.javascript.lint.syntax import is_optional, pairs, parse, place, property_of, string, text, walk
from pipeline.transform.javascript.recipes import Recipe

if TYPE_CHECKING:
    from tree_sitter import Node

CAMPAIGN_TYPES: Final = (
    "payment.succeeded", "payment.failed", "refund.succeeded", "subscription.active", "subscription.renewed",
    "subscription.on_hold", "subscription.cancelled", "subscription.expired", "subscription.plan_changed",
    "abandoned_checkout.detected", "dunning.started",
)  # fmt: skip
"""The types for which docs/campaigns.md has a campaign."""

CHECKS: Final = {
    "payment.succeeded": frozenset({"is_update_payment_method"}),
    "subscription.active": frozenset({"previous_billing_date"}),
}
"""The properties that must be checked before a webhook of the type counts as a purchase or a start."""

SUMS: Final = re.compile(r"total_\w+|lifetime_?\w*|ltv|customer_since|first_\w+|\w+_count")
"""Names of attributes whose values cannot be known from one webhook."""

DATES: Final = re.compile(r"\w+_(?:at|date)|timestamp")
NO_DATES: Final = frozenset({"cancel_at_next_billing_date"})

HOSTS: Final = re.compile(r"track(?:-eu)?\.customer\.io")

LOCALES: Final = frozenset({"toLocaleString", "toLocaleDateString", "toLocaleTimeString"})

Rule = Callable[["Script"], Iterator[tuple["Node", str]]]


class Script:
    """One recipe and its tree. `mentioned` are Dodo's types that any of the recipes beside it handles."""

    def __init__(self, recipe: Recipe, mentioned: frozenset[str]) -> None:
        self.recipe = recipe
        self.mentioned = mentioned
        self.root = parse(recipe.text)
        self.nodes = tuple(walk(self.root))

    @cached_property
    def handler(self) -> Node:
        """Where the handler begins; the whole file without one."""
        for node in self.nodes:
            if node.type in {"function_declaration", "variable_declarator"}:
                name = node.child_by_field_name("name")
                if text(name) == "handler":
                    return node
        return self.root

    @cached_property
    def parameter(self) -> str:
        """The name of the handler's parameter: the webhook."""
        for node in walk(self.handler):
            if node.type == "formal_parameters" and node.named_children:
                return text(node.named_children[0])
            if node.type == "arrow_function" and (one := node.child_by_field_name("parameter")) is not None:
                return text(one)
        return "webhook"

    @cached_property
    def payloads(self) -> tuple[Node, ...]:
        """The objects that are to be sent."""
        return tuple(
            node for node in self.nodes if node.type == "object" and {"action", "identifiers"} & pairs(node).keys()
        )

    def attributes(self, payload: Node) -> dict[str, tuple[Node, Node]]:
        """The attributes that are written out in a payload's literal."""
        whole = pairs(payload).get("attributes")
        return pairs(whole[1]) if whole is not None and whole[1].type == "object" else {}

    def is_identify(self, payload: Node) -> bool:
        """Whether the payload is an identify, as far as the source shows."""
        action = pairs(payload).get("action")
        return action is not None and string(action[1]) == "identify"

    @cached_property
    def properties(self) -> frozenset[str]:
        """Every property that is read anywhere."""
        return frozenset(text(node) for node in self.nodes if node.type.endswith("property_identifier"))


def types_in(recipe: Recipe) -> frozenset[str]:
    """Dodo's types that a recipe names."""
    named = {string(node) for node in walk(parse(recipe.text)) if node.type == "string"}
    return frozenset(TYPES) & named | (recipe.types or frozenset())


def findings(recipe: Recipe, beside: Iterable[Recipe] = ()) -> list[Finding]:
    """The faults of a recipe in the order of its lines; `beside` are those that run with it."""
    mentioned = frozenset[str]().union(types_in(recipe), *map(types_in, beside))
    script = Script(recipe, mentioned)
    found = {
        Finding(FAULTS[code], recipe.name, *place(node), more)
        for code, rule in RULES.items()
        for node, more in rule(script)
    }
    order = {code: number for number, code in enumerate(FAULTS)}
    return sorted(found, key=lambda one: (one.line, order[one.fault.code], one.column))


def _actions(script: Script) -> Iterator[tuple[Node, str]]:
    for payload in script.payloads:
        action = pairs(payload).get("action")
        value = string(action[1]) if action is not None else None
        if action is not None and value is not None and value not in {"identify", "event"} | OTHER_ACTIONS:
            yield action[0], f'"{value}"'


def _other_actions(script: Script) -> Iterator[tuple[Node, str]]:
    for payload in script.payloads:
        action = pairs(payload).get("action")
        value = string(action[1]) if action is not None else None
        if action is not None and value in OTHER_ACTIONS:
            yield action[0], f"the action {value} is none for a webhook"


def _hundred(script: Script) -> Iterator[tuple[Node, str]]:
    for node in script.nodes:
        operator, right = text(node.child_by_field_name("operator")), text(node.child_by_field_name("right"))
        if node.type == "binary_expression" and (operator, right) in {("/", "100"), ("/", "100.0"), ("*", "0.01")}:
            yield node, ""


def _fixed(script: Script) -> Iterator[tuple[Node, str]]:
    for node in script.nodes:
        called = node.child_by_field_name("function") if node.type == "call_expression" else None
        if called is not None and property_of(called) == "toFixed":
            yield node, ""


def _invented(script: Script) -> Iterator[tuple[Node, str]]:
    for payload in script.payloads:
        for name, (pair, value) in script.attributes(payload).items():
            operator = text(value.child_by_field_name("operator"))
            invented = string(value.child_by_field_name("right"))
            if value.type == "binary_expression" and operator in {"||", "??"} and invented:
                yield pair, f'{name} "{invented}"'


def _sums(script: Script) -> Iterator[tuple[Node, str]]:
    for payload in script.payloads:
        if script.is_identify(payload):
            for name, (pair, _) in script.attributes(payload).items():
                if SUMS.fullmatch(name):
                    yield pair, name


def _dates(script: Script) -> Iterator[tuple[Node, str]]:
    for payload in script.payloads:
        for name, (pair, value) in script.attributes(payload).items():
            called = value.child_by_field_name("function") if value.type == "call_expression" else None
            read = property_of(value)
            is_date = DATES.fullmatch(read) is not None and read not in NO_DATES
            if is_date or (called is not None and property_of(called) == "toISOString"):
                yield pair, name


def _times(script: Script) -> Iterator[tuple[Node, str]]:
    for payload in script.payloads:
        if "timestamp" not in pairs(payload):
            yield payload, ""


def _ids(script: Script) -> Iterator[tuple[Node, str]]:
    for payload in script.payloads:
        if "id" not in pairs(payload) and not script.is_identify(payload):
            yield payload, ""


def _raw(script: Script) -> Iterator[tuple[Node, str]]:
    for node in script.nodes:
        if node.type == "return_statement" and [text(one) for one in node.named_children] == [script.parameter]:
            handled = len(script.mentioned)
            yield node, f"{len(TYPES) - handled} of {len(TYPES)} types" if handled else ""


def _hosts(script: Script) -> Iterator[tuple[Node, str]]:
    for node in script.nodes:
        if (value := string(node)) is not None and (host := HOSTS.search(value)):
            yield node, host[0]


def _names(script: Script) -> Iterator[tuple[Node, str]]:
    for payload in script.payloads:
        if script.is_identify(payload) and (name := pairs(payload).get("name")) is not None:
            yield name[0], ""


def _missing(script: Script) -> Iterator[tuple[Node, str]]:
    missing = [type_ for type_ in CAMPAIGN_TYPES if type_ not in script.mentioned]
    if script.mentioned and missing and script.recipe.types is None:
        yield script.handler, ", ".join(missing)


def _starts(script: Script) -> Iterator[tuple[Node, str]]:
    for node in script.nodes:
        type_ = string(node)
        if type_ in CHECKS and not CHECKS[type_] & script.properties:
            yield node, type_


def _modes(script: Script) -> Iterator[tuple[Node, str]]:
    if script.payloads:
        yield script.handler, ""


def _guards(script: Script) -> Iterator[tuple[Node, str]]:
    if any(property_of(node) == "customer" and _is_tested(node) for node in script.nodes):
        return
    lines = set()
    for node in script.nodes:
        owner = node.child_by_field_name("object") if node.type == "member_expression" else None
        if owner is not None and property_of(owner) == "customer" and not is_optional(node):
            if node.start_point[0] not in lines:
                yield node, text(node)
            lines.add(node.start_point[0])


def _is_tested(node: Node) -> bool:
    """Whether an expression stands alone in a condition, or is negated, or is the left side of `&&`."""
    parent = node.parent
    if parent is None:
        return False
    match parent.type:
        case "unary_expression":
            return text(parent.child_by_field_name("operator")) == "!"
        case "parenthesized_expression":
            return parent.parent is not None and parent.parent.type in {"if_statement", "ternary_expression"}
        case "binary_expression":
            return text(parent.child_by_field_name("operator")) in {"&&", "==", "!=", "===", "!=="}
        case "ternary_expression":
            return parent.child_by_field_name("condition") == node
    return False


def _outside(script: Script) -> Iterator[tuple[Node, str]]:
    declared = {text(node.child_by_field_name("name")) for node in script.nodes if node.child_by_field_name("name")}
    for node in script.nodes:
        parent = node.parent
        if node.type == "identifier" and text(node) in ABSENT - declared:
            is_asked_for = parent is not None and text(parent).startswith("typeof ")
            if not is_asked_for:
                yield node, text(node)
        if node.type == "property_identifier" and text(node) in LOCALES:
            yield node, text(node)


RULES: Final[dict[str, Rule]] = {
    "invalid-action": _actions,
    "divided-by-100": _hundred,
    "amount-as-text": _fixed,
    "invented-value": _invented,
    "overwritten-total": _sums,
    "iso-date": _dates,
    "no-event-time": _times,
    "raw-body": _raw,
    "fixed-host": _hosts,
    "named-identify": _names,
    "types-missing": _missing,
    "unchecked-start": _starts,
    "no-event-id": _ids,
    "no-mode": _modes,
    "unguarded": _guards,
    "fails": _other_actions,
    "outside": _outside,
}
"""By the fault's code."""
