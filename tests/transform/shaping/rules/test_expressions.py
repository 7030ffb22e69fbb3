"""CEL as the rules use it: fed with what it asks for, and never another answer than the library's own."""

from __future__ import annotations

from typing import Any

import cel
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import ShapingError
from pipeline.transform.shaping.rules.document import At
from pipeline.transform.shaping.rules.expressions import Expression
from pipeline.transform.shaping.rules.scope import MISSING, Scope
from pipeline.transform.shaping.rules.words import ExpressionFault
from pipeline.transform.shaping.types import Webhook

BODY = {
    "type": "payment.succeeded",
    "timestamp": "2026-10-14T08:21:45Z",
    "data": {"amount": 4900, "metadata": {"utm": "news"}, "cart": [{"id": "p1", "n": 2}], "nothing": None, "f": 1.5},
}
WEBHOOK = Webhook("payment.succeeded", BODY, "msg_1", 1_791_966_105_000)
SCOPE = Scope(WEBHOOK, {"currency": "USD", "minor": 4900, "flag": True}, {"email": "ada@example.com"})


def expression(source: str) -> Expression:
    """Compiled, as if it stood at 3:7."""
    return Expression(source, At(3, 7), "rules.yaml")


def oracle(source: str, scope: Scope) -> Any:
    """What the library alone says of the whole input, `MISSING` where it misses a member."""
    webhook = {**scope.webhook.body, "id": "msg_1", "mode": "live", "event_ms": scope.webhook.event_ms}
    try:
        return cel.evaluate(source, {"webhook": webhook, "event": scope.event, "profile": scope.profile})
    except KeyError:
        return MISSING


@pytest.mark.parametrize(
    "source",
    [
        "event.currency == 'USD' && event.minor >= 4900",
        'event.currency != "EUR"',
        "event.currency in ['EUR', 'USD']",
        "event.minor in [4900]",
        "has(event.currency) && !has(event.other)",
        "event.flag == true",
        "event.flag == 1",
        "event.minor == 4900.0",
        "webhook.data.f > 1",
        "event.currency == 1",
        "webhook.type.startsWith('payment.')",
        "webhook.data.cart.exists(item, item.id == 'p1' && item.n > 1)",
        "webhook.data.cart[0].id == 'p1'",
        "event.currency == 'USD' ? event.minor > 5000 : true",
        "event['currency'] == 'USD'",
        "size(event) == 3",
        "webhook.data.metadata.utm == 'news' // event.other",
        "'event.other' == 'event.other'",
        "event.minor + 100 == 5000",
        "false && event.other == 1",
        "event.other == 1 || event.minor == 4900",
        "timestamp(webhook.timestamp).getFullYear() == 2026",
        "webhook.event_ms > 5 && webhook.id == 'msg_1' && profile.email.endsWith('@example.com')",
        "event.currency.matches('^U.D$')",
    ],
)
def test_it_says_what_the_library_says(source: str) -> None:
    """However much of the input is left behind, and whether or not the library is asked."""
    expected = oracle(source, SCOPE)
    assert expression(source).holds(SCOPE) is expected
    assert expression(source).value(SCOPE) is expected


values = st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([0.0, 1.0, 1.5]) | st.sampled_from("ab")
literals = st.sampled_from(["'a'", "'b'", "0", "1", "2", "true", "false"])
comparisons = st.one_of(
    st.builds(
        "event.{} {} {}".format, st.sampled_from("xyz"), st.sampled_from(["==", "!=", "<", "<=", ">", ">="]), literals
    ),
    st.builds("event.{} in ['a', 'c']".format, st.sampled_from("xyz")),
    st.builds("{}has(event.{})".format, st.sampled_from(["", "!"]), st.sampled_from("xyz")),
)


@given(st.lists(comparisons, min_size=1, max_size=3).map(" && ".join), st.dictionaries(st.sampled_from("xyz"), values))
def test_plain_comparisons_are_cel_s(source: str, event: dict[str, Any]) -> None:
    """Any value under any comparison: the same answer, or the same refusal; what is missing makes nothing hold."""
    compiled = expression(source)
    there = {name: value for name, value in event.items() if value is not None}
    is_missing = any(f"{before}event.{name} " in f" {source}" for name in set("xyz") - set(there) for before in " !")
    refuses = False
    try:
        expected = cel.evaluate(source, {"event": there})
    except KeyError:
        expected = False
    except TypeError:
        expected, refuses = False, True
    try:
        assert compiled.holds(Scope(WEBHOOK, event, None)) is expected
        assert is_missing or not refuses
    except ShapingError as error:
        assert "do not fit together" in str(error)  # noqa: PT017 - whether it raises depends on the case
        assert refuses or is_missing


@pytest.mark.parametrize(
    "source",
    ["event.other == 1", "webhook.data.nothing > 1", "event.other", "webhook.data.no.way", "webhook.data.cart[7].id"],
)
def test_what_is_not_there_holds_nothing_and_gives_nothing(source: str) -> None:
    """No webhook becomes a dead letter for a field that Dodo left out."""
    assert expression(source).value(SCOPE) is MISSING
    assert expression(source).holds(SCOPE) is False
    assert expression(source).value(Scope(WEBHOOK, None, None)) is MISSING


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("event.currency > 5", "do not fit together"),
        ("event.minor * 1.5 > 1.0", "do not fit together"),
        ("event.minor / (event.minor - 4900) > 1", "division by zero"),
        ("event.minor", "gives a int, not true or false"),
        ("webhook.data.f.startsWith('x')", "startsWith cannot be asked"),
        ("9223372036854775807 + event.minor > 1", "beyond 64 bits"),
    ],
)
def test_what_cannot_be_worked_out_names_its_place_and_no_value(source: str, reason: str) -> None:
    """The dead letter's reason says file, line and column."""
    with pytest.raises(ShapingError, match=reason) as raised:
        expression(source).holds(SCOPE)
    assert raised.value.place == "rules.yaml:3:7"
    assert str(raised.value).startswith("rules.yaml:3:7: ")
    assert "ada@" not in str(raised.value)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("event.currency ==", "mismatched input '<EOF>' at line 1, column 18"),
        ("evnt.currency == 'USD'", "unknown variable 'evnt'; did you mean event"),
        ("event.currency.startWith('U')", "unknown function 'startWith'; did you mean startsWith"),
        ("payment() == 1", "unknown function 'payment'"),
        ("webhook.data.x == null", "ask has(…)"),
        ("webhook.body.data == 1", "webhook has no 'body'"),
        ("webhook.dta.x == 1", "did you mean data"),
        ("webhook.data.cart.exists(event, event.n > 1)", "'event' is taken"),
        ("[1].exists(a, [1].exists(b, [1].exists(c, a + b + c > 3)))", "inside each other"),
    ],
)
def test_what_is_wrong_is_said_when_it_is_compiled(source: str, reason: str) -> None:
    """With what would be right, where that is near."""
    with pytest.raises(ExpressionFault) as raised:
        expression(source)
    assert reason in str(raised.value)
