"""The tests beside a file of rules: webhooks, and the operations that each must become.

Those of `rules.yaml` are in `rules.tests.yaml`: one file, since a ConfigMap has no folders. They run offline with
default settings, and in a worker before it takes new rules. The same webhook always becomes the same operations.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson
import yaml

from pipeline.dodo import samples
from pipeline.dodo.envelope import parse
from pipeline.errors import RulesError, UnreadableBodyError
from pipeline.transform.copies import Copy
from pipeline.transform.journey import Walk
from pipeline.transform.mapping.webhook import map_webhook
from pipeline.transform.policy import Policy
from pipeline.transform.shaping.rules.catalogue import sampled
from pipeline.transform.shaping.rules.compiled import Rules
from pipeline.transform.shaping.rules.document import At, Fault, Node, meant, refused
from pipeline.transform.shaping.rules.document import read as read_document
from pipeline.transform.shaping.types import Shaper
from pipeline.transform.verdicts import DeadLettered, Decided, Delivery, Dropped, Mode, Operations
from pipeline.transform.webhook import Webhook

FILE: Final = ("cases",)
INPUT: Final = ("sample", "webhook", "change", "webhook_id")
CASE: Final = ("name", *INPUT, "mode", "after", "operations", "verdict")

FIRST_CASES: Final = 12
"""How many cases are proposed for a file that has none: enough to show what the rules do, few enough to be read."""


class Input(NamedTuple):
    """A webhook that is given to the rules."""

    webhook_id: str
    body: bytes


class RuleCase(NamedTuple):
    """One case; `after` are earlier webhooks, from which the state knows the customer."""

    at: At
    name: str
    given: Input
    mode: Mode
    after: tuple[Input, ...]
    expected: Mapping[str, Any] | None


class Result(NamedTuple):
    """A case, and what its webhook became."""

    case: RuleCase
    became: Mapping[str, Any]

    @property
    def passed(self) -> bool:
        """Whether the operations are the expected ones."""
        return self.case.expected is not None and _sorted(self.became) == _sorted(self.case.expected)

    @property
    def differences(self) -> list[str]:
        """What differs, one line each: `operations[1].name: expected …, became …`."""
        if self.case.expected is None:
            return ["nothing is expected yet: dodo-cio rules test --update writes what it becomes"]
        return list(_differences("", self.case.expected, self.became))


def beside(path: Path) -> Path:
    """The path of the cases that belong to a file of rules."""
    return path.with_name(f"{path.stem}.tests.yaml")


def are_there(place: Path) -> bool:
    """Whether there is a file of cases.

    Raises:
        RulesError: it cannot be told, since a name is too long or a folder is closed.
    """
    try:
        return place.exists()
    except OSError as error:
        raise RulesError(f"{place} cannot be read ({error.strerror})") from None


def read(path: Path) -> list[RuleCase]:
    """The cases of a file.

    Raises:
        RulesError: names each fault with its place.
    """
    root = read_document(path)
    faults: list[Fault] = []
    members = _members(root, FILE, "the file", faults)
    node = members.get("cases")
    cases = []
    if node is None or node.kind != "list":
        faults.append(Fault(root.at if node is None else node.at, "cases is a list: each begins with a dash"))
    else:
        cases = [case for element in node.elements if (case := _case(element, faults)) is not None]
    if faults:
        raise refused(path, faults)
    return cases


def run(cases: list[RuleCase], shaper: Shaper) -> list[Result]:
    """What each case becomes under `shaper`."""
    return [Result(case, became(case, shaper)) for case in cases]


def became(case: RuleCase, shaper: Shaper) -> dict[str, Any]:
    """What one case becomes: its operations, or why there are none."""
    policy = replace(Policy(), shaper=shaper, forward_test_mode=case.mode == "test")
    if case.after:
        walk = Walk(policy, mode=case.mode)
        for earlier in case.after:
            walk.decide(Copy(earlier.body), earlier.webhook_id)
        return _told(walk.decide(Copy(case.given.body), case.given.webhook_id))
    try:
        envelope = parse(case.given.body)
    except UnreadableBodyError as error:
        return _told(DeadLettered("unreadable", str(error)))
    return _told(map_webhook(Webhook(envelope, Delivery(case.given.webhook_id, mode=case.mode)), policy))


def updated(results: list[Result], path: Path) -> str:
    """The text of the file of cases with what each becomes now; all else as it was, except comments."""
    known = {node.at: node for node in _elements(path)}
    cases = []
    for result in results:
        node = known.get(result.case.at)
        kept = node.plain() if node is not None else {"name": result.case.name, "sample": result.case.name}
        cases.append({name: value for name, value in kept.items() if name not in {"operations", "verdict"}})
        cases[-1].update(result.became)
    return yaml.safe_dump({"cases": cases}, sort_keys=False, allow_unicode=True, width=120)


def first_cases(rules: Rules) -> list[RuleCase]:
    """Cases for a file that has none: samples of the types that its rules concern."""
    found: list[RuleCase] = []
    seen: set[str] = set()
    for name, webhook, default in sampled():
        concerned = any(
            (rule.types is None or webhook.type in rule.types)
            and (rule.events is None or any(event.origin in rule.events for event in default.events))
            for rule in rules.rules
        )
        if concerned and webhook.type not in seen and len(found) < FIRST_CASES:
            seen.add(webhook.type)
            found.append(RuleCase(At(0, len(found)), name, Input("msg_test", samples.load(name)), "live", (), None))
    return found


def _elements(path: Path) -> tuple[Node, ...]:
    if not are_there(path):
        return ()
    return next((node.elements for name, _, node in read_document(path).members if name == "cases"), ())


def _case(node: Node, faults: list[Fault]) -> RuleCase | None:
    members = _members(node, CASE, "a case", faults)
    given = _input(node, members, faults)
    if given is None:
        return None
    mode: Mode = "live"
    if "mode" in members:
        if members["mode"].value not in {"live", "test"}:
            faults.append(Fault(members["mode"].at, "mode is live or test"))
            return None
        mode = members["mode"].value
    after = []
    if (earlier := members.get("after")) is not None:
        for element in earlier.elements if earlier.kind == "list" else (earlier,):
            one = _input(element, _members(element, INPUT, "an earlier webhook", faults), faults)
            if one is not None:
                after.append(one)
    expected: dict[str, Any] = {name: members[name].plain() for name in ("verdict", "operations") if name in members}
    name = members["name"].value if "name" in members else None
    return RuleCase(node.at, str(name or f"line {node.at.line}"), given, mode, tuple(after), expected or None)


def _input(node: Node, members: Mapping[str, Node], faults: list[Fault]) -> Input | None:
    webhook_id = members["webhook_id"].value if "webhook_id" in members else "msg_test"
    if ("sample" in members) == ("webhook" in members):
        faults.append(Fault(node.at, "a case has either sample or webhook"))
        return None
    if "sample" in members:
        name = members["sample"].value
        if name not in samples.names():
            faults.append(
                Fault(members["sample"].at, f"no sample is called {name!r}{meant(str(name), samples.names())}")
            )
            return None
        body = orjson.loads(samples.load(name))
    else:
        body = members["webhook"].plain()
    if "change" in members:
        body = _changed(body, members["change"].plain())
    return Input(str(webhook_id), orjson.dumps(body))


def _changed(body: Any, change: Any) -> Any:
    """`body` with `change` applied member by member, as a JSON merge patch: null removes a member."""
    if not isinstance(body, dict) or not isinstance(change, dict):
        return change
    merged = {name: value for name, value in body.items() if change.get(name, value) is not None}
    for name, value in change.items():
        if value is not None:
            merged[name] = _changed(body.get(name), value)
    return merged


def _members(node: Node, known: tuple[str, ...], what: str, faults: list[Fault]) -> dict[str, Node]:
    if node.kind != "mapping":
        faults.append(Fault(node.at, f"{what} is a mapping with {', '.join(known)}"))
        return {}
    for name, at, _ in node.members:
        if name not in known:
            faults.append(Fault(at, f"unknown field '{name}' in {what}{meant(name, known)}; it has {', '.join(known)}"))
    return {name: member for name, _, member in node.members if name in known}


def _told(verdict: Decided) -> dict[str, Any]:
    match verdict:
        case Operations(operations=operations):
            return {"operations": [orjson.loads(operation.body) for operation in operations]}
        case Dropped(reason=reason):
            return {"verdict": f"dropped, {reason}"}
        case DeadLettered(class_=class_, reason=reason):
            return {"verdict": f"dead letter, {class_}: {reason}"}
        case _:
            return {"verdict": "sent on"}


def _sorted(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def _differences(place: str, expected: Any, value: Any) -> Any:
    if isinstance(expected, dict) and isinstance(value, dict):
        for name in dict.fromkeys((*expected, *value)):
            inside = f"{place}.{name}" if place else str(name)
            if name not in value:
                yield f"{inside}: expected {_shown(expected[name])}, is not there"
            elif name not in expected:
                yield f"{inside}: not expected, became {_shown(value[name])}"
            else:
                yield from _differences(inside, expected[name], value[name])
    elif isinstance(expected, list) and isinstance(value, list) and len(expected) == len(value):
        for index, (one, other) in enumerate(zip(expected, value, strict=True)):
            yield from _differences(f"{place}[{index}]", one, other)
    elif _sorted(expected) != _sorted(value):
        yield f"{place}: expected {_shown(expected)}, became {_shown(value)}"


def _shown(value: Any) -> str:
    text = orjson.dumps(value).decode()
    return text if len(text) <= 200 else f"{text[:200]}…"  # noqa: PLR2004 - one line of a terminal or two


def check_cases(path: Path, shaper: Shaper) -> None:
    """Run the cases beside a file of rules, if there are any.

    Raises:
        RulesError: a case does not pass, or the file of cases has faults; names each.
    """
    place = beside(path)
    if not are_there(place):
        return
    failed = [result for result in run(read(place), shaper) if not result.passed]
    if failed:
        lines = [f"{place}:{result.case.at.line}: {result.case.name}: {result.differences[0]}" for result in failed]
        raise RulesError("\n".join(lines))
