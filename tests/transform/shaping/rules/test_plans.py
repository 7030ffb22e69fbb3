"""A plan does what a plain reading of the rules does, and what no rule touches is told as without rules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.dodo import samples
from pipeline.transform.mapping import map_body
from pipeline.transform.policy import Policy
from pipeline.transform.shaping.known import NOTHING_KNOWN
from pipeline.transform.shaping.rules.catalogue import forms
from pipeline.transform.shaping.rules.compiled import Rules
from pipeline.transform.shaping.rules.expressions import Expression
from pipeline.transform.shaping.rules.loading import load_text
from pipeline.transform.shaping.rules.model import Addition, Changes, Constant, Rule, Setting
from pipeline.transform.shaping.rules.scope import MISSING, Scope
from pipeline.transform.shaping.types import Event, Identify, Known, Shaped, ShapingError, Webhook
from pipeline.transform.verdicts import Delivery, Operations

TYPE = "payment.succeeded"
ORIGINS = ("payment_completed", "trial_converted", "subscription_reactivated")
CONDITIONS = (
    "event.payment_amount_minor >= 100", "event.payment_amount_minor != 4665", "event.currency == 'EUR'",
    "event.currency in ['EUR', 'GBP'] && event.payment_amount_minor < 500", "has(event.tax)", "!has(profile.country)",
    "profile.total_spent_minor >= 1000", "profile.country == 'US'", "webhook.data.metadata.vip == true",
    "event.currency.startsWith('E')", "webhook.type == 'payment.succeeded'", "event.payment_amount_minor / 0 == 1",
    "event.currency == 'EUR' || event.retry_attempt == 0",
)  # fmt: skip
VALUES = (
    {"path": "data.metadata.utm"}, {"path": "data.nowhere.at_all"}, {"cel": "event.currency"}, {"value": {"a": [1]}},
    {"cel": "event.payment_amount_minor > 10"}, {"cel": "profile.country + '!'"}, "constant", 5, True,
)  # fmt: skip
OF_EVENT = ("payment_amount", "tax", "currency", "card_network", "payment_id")
OF_PROFILE = ("country", "phone", "total_spent", "last_payment_date")


def changes(names: tuple[str, ...]) -> st.SearchStrategy[dict[str, Any]]:
    """What a rule does to attributes."""
    return st.fixed_dictionaries(
        {},
        optional={
            "rename": st.dictionaries(
                st.sampled_from(names[:2]), st.sampled_from((*names[:2], "amount", "sum")), max_size=2
            ),
            "drop": st.lists(st.sampled_from((*names[2:], f"{names[2][:4]}*")), min_size=1, max_size=2, unique=True),
            "set": st.dictionaries(st.sampled_from(("utm", "seen", "other")), st.sampled_from(VALUES), max_size=2),
        },
    ).map(lambda found: {name: value for name, value in found.items() if value})


def rule() -> st.SearchStrategy[dict[str, Any]]:
    """One rule as it stands in a file."""
    matches = ({"event": ORIGINS[0]}, {"family": "payment"}, {"type": TYPE}, {"type": "payment.failed"},
               {"event": ORIGINS[1]}, {"event": list(ORIGINS[:2])})  # fmt: skip
    add = st.fixed_dictionaries(
        {"name": st.sampled_from(("Large", "Thanks"))},
        optional={"copy": st.booleans(), "set": st.dictionaries(st.just("n"), st.sampled_from(VALUES), min_size=1)},
    )
    return (
        st.fixed_dictionaries(
            {},
            optional={
                "match": st.sampled_from(matches),
                "when": st.sampled_from(CONDITIONS),
                "rename": st.sampled_from(("Paid", "Bought")),
                "drop": st.sampled_from(("event", "profile", "both")),
                "event": changes(OF_EVENT),
                "profile": changes(OF_PROFILE),
                "add": add,
            },
        )
        .map(lambda found: {name: value for name, value in found.items() if value})
        .filter(lambda found: bool(found.keys() - {"match", "when"}))
    )


def usable(documents: list[dict[str, Any]]) -> list[Rule]:
    """The rules of each document by itself: two of them may rename the same, where the order decides."""
    found: list[Rule] = []
    for document in documents:
        loaded = _loaded(document)
        found += loaded.rules if loaded is not None else ()
    return found


def _loaded(document: dict[str, Any]) -> Rules | None:
    try:
        return load_text(orjson.dumps({"rules": [document]}), Path("rules.yaml")).rules
    except Exception as error:
        if type(error).__name__ != "RulesError":
            raise
        return None


# The oracle: one rule after the other over copies, each condition asked of the CEL library.


def plainly(rules: list[Rule], webhook: Webhook, default: Shaped) -> Shaped:
    """What the rules' words say."""
    told = dict(default.identify.attributes) if default.identify is not None else None
    profile: dict[str, Any] | None = dict(told) if told is not None else None
    events = [(one.name, dict(one.attributes), one.origin) for one in default.events]
    dropped: set[int] = set()
    added: list[tuple[str, dict[str, Any], str]] = []
    drops_profile, applied = False, []
    for one in rules:
        if one.types is not None and webhook.type not in one.types:
            continue
        seen: list[Scope] = []
        for place, event in enumerate(default.events):
            if one.events is not None and event.origin not in one.events:
                continue
            scope = Scope(webhook, event.attributes, told)
            if not _holds(one, scope):
                continue
            seen.append(scope)
            if "event" in one.drop:
                dropped.add(place)
            else:
                name, attributes, origin = events[place]
                events[place] = (one.rename or name, _changed(one.event, attributes, scope, is_event=True), origin)
        if not default.events and one.events is None and _holds(one, Scope(webhook, None, told)):
            seen.append(Scope(webhook, None, told))
        if not seen:
            continue
        applied.append(one.at.line)
        drops_profile = drops_profile or "profile" in one.drop
        if profile is not None:
            profile = _changed(one.profile, profile, seen[0], is_event=False)
        added += [_addition(addition, seen[0]) for addition in one.add]
    if not applied:
        return default
    left = [Event(*event) for place, event in enumerate((*events, *added)) if place not in dropped]
    return Shaped(None if drops_profile or profile is None else Identify(profile), tuple(left))


def _holds(one: Rule, scope: Scope) -> bool:
    if one.when is None:
        return True
    for part in one.when.source.split(" && "):  # from the left, until one is not
        answer = _asked(Expression(part, one.at, "rules.yaml"), scope)
        if answer is not MISSING and type(answer) is not bool:
            raise ShapingError("no condition")
        if answer is not True:
            return False
    return True


def _asked(expression: Expression, scope: Scope) -> Any:
    """By the library, past the comparisons that are answered without it."""
    return expression.value(scope)


def _addition(one: Addition, scope: Scope) -> tuple[str, dict[str, Any], str]:
    copied = dict(scope.event) if one.copies and scope.event is not None else {}
    return one.name, _set(one.set, copied, scope, is_event=True), f"+{one.key}"


def _changed(one: Changes, attributes: dict[str, Any], scope: Scope, *, is_event: bool) -> dict[str, Any]:
    target: Any = "event" if is_event else "profile"
    found = dict(attributes)
    named = {renaming.old for renaming in one.rename}
    moved = [
        (renaming.new + name[len(renaming.old) :], found.pop(name))
        for renaming in one.rename
        for name in forms(renaming.old, target)
        if name in found and (name == renaming.old or name not in named)
    ]
    for name, value in moved:
        if name in found:
            raise ShapingError("a value would be lost")
        found[name] = value
    for dropping in one.drop:
        gone = [dropping.pattern] if "*" in dropping.pattern else forms(dropping.pattern, target)
        found = {name: value for name, value in found.items() if not any(fnmatchcase(name, each) for each in gone)}
    return _set(one.set, found, scope, is_event=is_event)


def _set(settings_: tuple[Setting, ...], attributes: dict[str, Any], scope: Scope, *, is_event: bool) -> dict[str, Any]:
    for one in settings_:
        value = one.value.value if isinstance(one.value, Constant) else _asked(one.value, scope)
        if value is MISSING or (value is None and is_event):
            continue
        attributes[one.name] = value
    return attributes


def of_event() -> st.SearchStrategy[dict[str, Any]]:
    """Attributes of an event, of kinds that a condition may not expect."""
    minor = st.one_of(st.integers(0, 1000), st.just(4665), st.just("odd"), st.none())
    return st.fixed_dictionaries(
        {"payment_id": st.just("pay_1")},
        optional={
            "payment_amount": st.just("46.65"), "payment_amount_value": st.just(46.65), "payment_amount_minor": minor,
            "currency": st.sampled_from(("EUR", "GBP", "USD", 5)), "tax": st.just("1"), "card_network": st.just("visa"),
            "retry_attempt": st.sampled_from((0, 1)), "amount": st.just("another"), "email": st.just("a@example.com"),
        },
    )  # fmt: skip


def defaults() -> st.SearchStrategy[Shaped]:
    """What the mapping may make: an identify or none, up to three events."""
    profile = st.fixed_dictionaries(
        {},
        optional={
            "country": st.sampled_from(("US", "DE", 7, None)), "phone": st.just("+15555550142"),
            "total_spent_minor": st.sampled_from((5, 5000)), "last_payment_date": st.just("x"),
        },
    )  # fmt: skip
    identify = st.one_of(st.none(), profile.map(Identify))
    events = st.lists(of_event(), max_size=3).map(
        lambda found: tuple(Event(origin, one, origin) for origin, one in zip(ORIGINS, found, strict=False))
    )
    return st.builds(Shaped, identify, events)


def bodies() -> st.SearchStrategy[dict[str, Any]]:
    """Bodies with and without what the rules look up."""
    metadata = st.fixed_dictionaries(
        {}, optional={"utm": st.sampled_from(("mail", 5, None)), "vip": st.sampled_from((True, "x"))}
    )
    return st.one_of(metadata, st.just("odd")).map(lambda found: {"type": TYPE, "data": {"metadata": found}})


@settings(deadline=None, max_examples=300)
@given(st.lists(rule(), min_size=1, max_size=5), defaults(), bodies())
def test_a_plan_does_what_a_plain_reading_does(
    documents: list[dict[str, Any]], default: Shaped, body: dict[str, Any]
) -> None:
    """With one event, several or none; the same events, in their order of attributes, or the same failure."""
    rules = usable(documents)
    webhook = Webhook(TYPE, body, "msg_1", 1_790_000_000_000)
    before = orjson.dumps([default.identify, default.events], default=str)
    try:
        expected = plainly(rules, webhook, default)
    except ShapingError:
        expected = None
    try:
        found = Rules(rules, "v", Path("rules.yaml")).shape(webhook, default, lambda: NOTHING_KNOWN)
    except ShapingError:
        found = None
    assert (found is None) == (expected is None)
    if found is not None and expected is not None:
        assert found[:2] == expected[:2]
        assert (found is default) == (expected is default)
    assert orjson.dumps([default.identify, default.events], default=str) == before, "the default was modified"


class Untold:
    """The same rules, which do not say beforehand what they leave alone."""

    version = "v"
    claims: frozenset[str] = frozenset()
    is_checked = True

    def __init__(self, rules: Rules) -> None:
        self._rules = rules

    def shape(self, webhook: Webhook, default: Shaped, know: Callable[[], Known]) -> Shaped:
        """See `Shaper`."""
        return self._rules.shape(webhook, default, know)


@settings(deadline=None, max_examples=100)
@given(st.sampled_from(samples.names()), st.lists(rule(), max_size=4))
def test_what_no_rule_touches_is_told_as_without_rules(sample: str, documents: list[dict[str, Any]]) -> None:
    """Passed by or looked at, a webhook becomes the same; the version is the rules' all the same."""
    rules = Rules(usable(documents), "v", Path("rules.yaml"))
    body = samples.load(sample)
    looked_at = map_body(body, Delivery("msg_1"), Policy(shaper=Untold(rules)))
    shaped = map_body(body, Delivery("msg_1"), Policy(shaper=rules))
    assert type(shaped) is type(looked_at)
    if isinstance(shaped, Operations) and isinstance(looked_at, Operations):
        assert replace(shaped, warnings=(), notes=()) == replace(looked_at, warnings=(), notes=())
        assert sorted(shaped.warnings) == sorted(looked_at.warnings)
        assert sorted(shaped.notes) == sorted(looked_at.notes)
        assert shaped.shaped == "v"


def test_a_webhook_of_no_rule_is_not_looked_at() -> None:
    """By its type and its events; an event that a webhook may tell beside its own counts."""
    rules = load_text(
        b"rules: [{match: {event: trial_converted}, rename: X}, {match: {type: payment.failed}, drop: event}]",
        Path("rules.yaml"),
    ).rules
    assert not rules.touches("refund.succeeded", frozenset({"refund_succeeded"}))
    assert rules.touches("refund.succeeded", frozenset({"refund_succeeded", "trial_converted"}))
    assert rules.touches("payment.failed", frozenset())
