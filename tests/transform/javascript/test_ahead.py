"""Recipes that were run ahead say what they say when they are asked alone."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.dodo import samples
from pipeline.errors import PipelineError, ShapingError
from pipeline.transform.javascript import engine
from pipeline.transform.javascript.engine import Engine
from pipeline.transform.javascript.recipes import Recipe
from pipeline.transform.javascript.shaper import JavaScript
from pipeline.transform.shaping.chain import Chain
from pipeline.transform.shaping.types import Event, Identify, Known, Shaped, Webhook
from tests.transform.javascript.test_engine import LEAKS, recipe_of, run

DEFAULT = Shaped(Identify({"plan": "pro"}), (Event("payment_succeeded", {}, "payment_succeeded"),))
PAYMENT: dict[str, Any] = orjson.loads(samples.load("payment.succeeded"))
CUSTOMER = PAYMENT["data"]["customer"]["customer_id"]

SENT = "{action: 'event', name: 'Paid', identifiers: {id: webhook.payload.data.customer.customer_id}, attributes: %s}"
DEEDS = {
    "send": f"return {SENT % '{id: webhook.payload.data.n}'}",
    "look": f"return {SENT % '{now: Date.now(), chance: Math.random(), type: webhook.eventType}'}",
    "nothing": "return null",
    "return it": "return webhook",
    "forget": "return",
    "wait": "return Promise.resolve()",
    "fail": "return webhook.payload.data.nobody.email",
    "throw a text": "throw 'it'",
    "call itself": "const f = () => f() + 1; return f()",
    "never end": "for (;;);",
    "take all memory": "const all = []; for (;;) all.push('x'.repeat(1e6) + all.length)",
    "leave a name": (
        f"Object.defineProperty(globalThis, 'left', {{value: 1}}); return {SENT % '{text: `x`.repeat(20000)}'}"
    ),
    "see a name": f"return {SENT % '{left: typeof left}'}",
    "half a character": f"return {SENT % '{text: String.fromCharCode(0xd800)}'}",
    "two lines": f"return {SENT % '{text: [`!`, `?`, `a`].join(String.fromCharCode(10))}'}",
    "too much": f"return {SENT % '{text: `x`.repeat(1000001)}'}",
    "no number": f"return {SENT % '{value: NaN}'}",
}
SLOW = frozenset({"never end", "take all memory"})

RECIPE = "function handler(webhook) {{ switch (webhook.payload.data.deed) {{\n{cases}\n}} }}".format(
    cases="\n".join(f"case {deed!r}: {{ {text}; }}" for deed, text in DEEDS.items())
)


def shaper(*texts: str) -> JavaScript:
    """One that asks these recipes about every webhook."""
    recipes = [Recipe(f"{number}.js", text) for number, text in enumerate(texts or (RECIPE,))]
    return JavaScript(recipes, ("customer_id",))


def webhook(number: int, deed: str = "send", **data: Any) -> Webhook:
    """A payment that has the recipe do something."""
    body = {**PAYMENT, "data": {**PAYMENT["data"], "deed": deed, "n": number, **data}}
    return Webhook("payment.succeeded", body, f"msg_{number}", 1_792_000_000_123 + number, None, "live")


def outcome(of: JavaScript | Chain, one: Webhook) -> object:
    """What becomes of it: as shaped, or the error with its place."""
    try:
        return of.shape(one, DEFAULT, Known)
    except ShapingError as error:
        return str(error), error.place


def unasked(*_: object) -> None:
    """Stands where nobody may ask the engine any more."""
    raise PipelineError("the engine was asked again")


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slice ends by itself alone: on a busy machine its time may be over before it has run at all."""
    untimed = engine._prelude().replace(_time_of_a_slice()[0], "const RUNS_MS = Infinity;")
    monkeypatch.setattr(engine, "_prelude", lambda: untimed)
    monkeypatch.setattr(engine, "TIME_LIMIT_S", 60.0)


def _time_of_a_slice() -> re.Match[str]:
    found = re.search(r"const RUNS_MS = (\d+);", engine._prelude())
    assert found is not None
    return found


@given(st.lists(st.sampled_from(sorted(DEEDS.keys() - SLOW)), min_size=1, max_size=40))
def test_what_was_run_ahead_is_what_is_run_alone(deeds: list[str]) -> None:
    """Whatever recipes do, and beside whatever others do in the same slice."""
    webhooks = [webhook(number, deed) for number, deed in enumerate(deeds)]
    ahead, alone = shaper(), shaper()
    ahead.ahead(webhooks)
    assert [outcome(ahead, one) for one in webhooks] == [outcome(alone, one) for one in webhooks]


@pytest.mark.parametrize("deed", sorted(SLOW))
def test_who_meets_a_limit_takes_nobody_along(deed: str) -> None:
    """The others of its slice are answered as ever, those behind it too."""
    webhooks = [webhook(0), webhook(1, deed), webhook(2), webhook(3, "see a name")]
    ahead, alone = shaper(), shaper()
    ahead.ahead(webhooks)
    assert [outcome(ahead, one) for one in webhooks] == [outcome(alone, one) for one in webhooks]


@pytest.mark.usefixtures("patient")
def test_what_was_run_ahead_is_not_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither of one recipe nor of several, and whether or not a webhook in between is never asked about."""
    of = shaper(RECIPE, "function handler(webhook) { return null; }")
    webhooks = [webhook(number) for number in range(64)]
    of.ahead(webhooks)
    monkeypatch.setattr(Engine, "run", unasked)
    for one in webhooks[::2]:
        shaped = of.shape(one, DEFAULT, Known)
        assert [event.attributes for event in shaped.events] == [{"id": one.data["n"]}]


@pytest.mark.usefixtures("patient")
def test_a_chain_shows_webhooks_to_the_recipes_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """As rules and recipes together are."""
    chain = Chain([shaper()])
    one = webhook(1)
    chain.ahead([one])
    monkeypatch.setattr(Engine, "run", unasked)
    assert outcome(chain, one) == Shaped(None, (Event("Paid", {"id": 1}, "payment_succeeded"),), _notes(chain, one))


def _notes(chain: Chain, one: Webhook) -> tuple[str, ...]:
    return chain.shape(one, DEFAULT, Known).notes


@pytest.mark.parametrize(
    "changed",
    [
        lambda one: one._replace(event_ms=one.event_ms + 1),
        lambda one: one._replace(id="msg_other"),
        lambda one: one._replace(body={**one.body}),
        lambda one: one._replace(type="payment.failed"),
    ],
)
def test_an_answer_is_for_the_webhook_that_was_shown(
    changed: Callable[[Webhook], Webhook], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of any other the recipe is asked."""
    of, one = shaper(), webhook(1, "look")
    of.ahead([one])
    monkeypatch.setattr(Engine, "run", unasked)
    with pytest.raises(PipelineError, match="asked again"):
        of.shape(changed(one), DEFAULT, Known)


@pytest.mark.parametrize(
    "data",
    [{"large": 2**70}, {"deep": [[]]}, {"much": ["x" * 1000] * 900}],
    ids=["a number beyond 64 bits", "deeper than orjson writes", "larger than a slice"],
)
def test_bodies_that_no_slice_takes_are_run_alone(data: dict[str, Any]) -> None:
    """They and the others of their slice."""
    if "deep" in data:
        for _ in range(300):
            data = {"deep": [data["deep"]]}
    webhooks = [webhook(0), webhook(1, **data)]
    ahead, alone = shaper(), shaper()
    ahead.ahead(webhooks)
    assert [outcome(ahead, one) for one in webhooks] == [outcome(alone, one) for one in webhooks]


def test_answers_that_nobody_asks_for_are_forgotten() -> None:
    """A webhook that is shown and then dropped keeps no memory for long; the latest are still known."""
    of = shaper()
    for number in range(100):
        of.ahead([webhook(number)])
    assert len(of._ahead._slices) < 10


@pytest.mark.parametrize(("limit_ms", "answered"), [("-1", 0), ("Infinity", 3)])
def test_a_slice_ends_when_its_own_time_is_over(limit_ms: str, answered: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is answered until then is not run again, and the context stays: its limit is another, and a longer one."""
    text, limit = engine._prelude(), _time_of_a_slice()
    assert int(limit[1]) < 1000 * engine.TIME_LIMIT_S
    monkeypatch.setattr(engine, "_prelude", lambda: text.replace(limit[0], f"const RUNS_MS = {limit_ms};"))
    of = Engine([Recipe("a.js", recipe_of(f"return {SENT % '{}'}"))])
    requests = orjson.dumps([(0, "payment.succeeded", PAYMENT, 1, "msg_1")] * 3).decode()
    assert len(of.run_all(requests)) == answered
    assert of._made_by is not None


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("way", LEAKS)
def test_nothing_of_one_customer_reaches_the_next_of_a_slice(way: str) -> None:
    """All see the same world; a record that cannot be undone ends its slice and its context."""
    text, expected = LEAKS[way]
    of = Engine([Recipe("a.js", recipe_of(text))])
    requests = orjson.dumps([(0, "payment.succeeded", PAYMENT, 1, "msg_1")] * 3).decode()
    words = of.run_all(requests) + of.run_all(requests)
    seen = [orjson.loads(word or "[]")[0]["value"] for word in words]
    assert [*seen, run(of)["value"]] == [expected] * (len(words) + 1)
    assert len(words) in {0, 6}
