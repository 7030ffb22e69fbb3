"""The shaper of a file of rules: it looks up the plan for a webhook's type and events, and applies it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from pipeline.transform.shaping.rules.model import Rule
from pipeline.transform.shaping.rules.plans import Plan, plan_of
from pipeline.transform.shaping.rules.steps import step_of
from pipeline.transform.shaping.types import IDENTIFY_ONLY, Known, Shaped, Webhook

PLANS_MAX: Final = 1_000
"""There are a few dozen combinations of type and events; names that a user's code makes up must not fill the memory."""


class Rules:
    """The shaper of one file of rules.

    Args:
        rules: in the order of the file, without faults.
        version: hash of the file's bytes.
        path: of the file, for notes.
    """

    claims: Final[frozenset[str]] = frozenset()
    is_checked: Final = True

    def __init__(self, rules: Iterable[Rule], version: str, path: Path) -> None:
        self.version = version
        self.rules = tuple(rules)
        self._steps = tuple(step_of(rule, path.name) for rule in self.rules)
        self._plans: dict[tuple[str, ...], Plan | None] = {}
        self._touched: dict[tuple[str, frozenset[str]], bool] = {}

    def shape(self, webhook: Webhook, default: Shaped, know: Callable[[], Known]) -> Shaped:  # noqa: ARG002
        """See `Shaper`."""
        events = default.events
        met = (webhook.type, events[0].origin) if len(events) == 1 else (webhook.type, *(one.origin for one in events))
        try:
            plan = self._plans[met]
        except KeyError:
            plan = plan_of([step for step in self._steps if _concerns(step.rule, met[0])], met[1:])
            if len(self._plans) < PLANS_MAX:
                self._plans[met] = plan
        return default if plan is None else plan(webhook, default)

    def touches(self, type_: str, events: frozenset[str]) -> bool:
        """Whether any rule may change a webhook of this type that emits some of these events, or none.

        Args:
            type_: Dodo's.
            events: canonical names of all events that it may emit.
        """
        asked = type_, events
        found = self._touched.get(asked)
        if found is None:
            found = any(
                _concerns(rule, type_) and (rule.events is None or not rule.events.isdisjoint(events))
                for rule in self.rules
            )
            if len(self._touched) < PLANS_MAX:
                self._touched[asked] = found
        return found


def _concerns(rule: Rule, type_: str) -> bool:
    if type_ in IDENTIFY_ONLY:
        return rule.types is None and rule.events is None
    return rule.types is None or type_ in rule.types
