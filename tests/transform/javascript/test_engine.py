"""A recipe has the language and one webhook, limits, and no memory of the last customer."""

from __future__ import annotations

import json
import threading
from typing import Any

import orjson
import pytest

from pipeline.dodo import samples
from pipeline.errors import SettingsError, ShapingError
from pipeline.transform.javascript import engine as engines
from pipeline.transform.javascript.engine import Call, Cancelled, Engine, Sent, Untouched
from pipeline.transform.javascript.recipes import Recipe

PAYMENT = samples.load("payment.succeeded").decode()
EVENT_MS = 1_792_000_000_123  # 2026-10-14T17:46:40.123Z


def engine(text: str) -> Engine:
    """An engine with one recipe, in which the handler's body begins on line 2."""
    return Engine([Recipe("a.js", text)])


def handler(body: str) -> Engine:
    """An engine with `body` as its handler's, from line 2 on."""
    return engine(f"function handler(webhook) {{\n{body}\n}}")


def run(of: Engine, body: str = PAYMENT, *, webhook_id: str = "msg_1") -> Any:
    """The payload of the answer."""
    answer = of.run(0, Call("payment.succeeded", body, EVENT_MS, webhook_id))
    assert isinstance(answer, Sent)
    (payload,) = answer.payloads
    return payload


def recipe_of(text: str) -> str:
    """A recipe that is a whole file, or what its handler does before it returns `value`."""
    if "function handler" in text:
        return text.replace("{{", "{").replace("}}", "}")
    return f"function handler(webhook) {{\nlet value; {text}; return {{action: 'a', value}};\n}}"


def value(expression: str, *, webhook_id: str = "msg_1") -> Any:
    """What `expression` is inside of a handler."""
    return run(handler(f"return {{action: 'a', value: {expression}}};"), webhook_id=webhook_id)["value"]


def value_of(of: Engine, body: str) -> Any:
    """The payload's `value`."""
    return run(of, body)["value"]


def failure(of: Engine, body: str = PAYMENT) -> tuple[str, str | None]:
    """What is told of a run that fails, and its place."""
    with pytest.raises(ShapingError) as caught:
        of.run(0, Call("payment.succeeded", body, EVENT_MS, "msg_1"))
    return str(caught.value), caught.value.place


# What goes in and comes out.


def test_a_handler_sees_the_webhook_as_the_dashboard_gives_it() -> None:
    """`eventType`, `payload` with the whole body, `method` and `url`."""
    seen = value("{type: webhook.eventType, body: webhook.payload, method: webhook.method, url: webhook.url}")
    assert seen == {"type": "payment.succeeded", "body": orjson.loads(PAYMENT), "method": "POST", "url": ""}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("return webhook", Untouched()),
        ("webhook.payload.data.more = 1; return webhook", Untouched()),
        ("return null", Cancelled()),
        ("webhook.cancel = true; return webhook", Cancelled()),
        ("return []", Cancelled()),
        ("return {action: 'a'}", Sent(({"action": "a"},))),
        ("webhook.payload = {action: 'a', gone: undefined}; return webhook", Sent(({"action": "a"},))),
        ("return [{action: 'a'}, null, {payload: {action: 'b'}}]", Sent(({"action": "a"}, {"action": "b"}))),
        ("webhook.payload = [{action: 'a'}, {action: 'b'}]; return webhook", Sent(({"action": "a"}, {"action": "b"}))),
        ("webhook.payload = {batch: [{action: 'a'}]}; return webhook", Sent(({"action": "a"},))),
        ("return {batch: [{action: 'a'}]}", Sent(({"action": "a"},))),
        ("webhook.payload = {batch: []}; return webhook", Cancelled()),
        ("webhook.payload = []; return webhook", Cancelled()),
        ("return {batch: []}", Cancelled()),
        ("return [webhook, {batch: []}]", Cancelled()),
        ("return [{batch: []}, {action: 'a'}]", Sent(({"action": "a"},))),
    ],
)
def test_what_a_handler_may_return(body: str, expected: Any) -> None:
    """The webhook as it was or changed, null for nothing, operations by themselves, or several of them."""
    answer = handler(body).run(0, Call("payment.succeeded", PAYMENT, EVENT_MS, "msg_1"))
    assert (type(answer), answer) == (type(expected), expected)  # empty tuples of any type are equal


@pytest.mark.parametrize(
    ("body", "said", "place"),
    [
        ("", "returned nothing", "a.js"),
        ("return Promise.resolve(webhook)", "returned a promise", "a.js"),
        ("return {payload: Promise.resolve(1)}", "returned a promise", "a.js"),
        ("return [webhook, (async () => webhook)()]", "returned a promise", "a.js"),
        ("return {then() {}}", "returned a promise", "a.js"),
        ("return 5", "returned a number", "a.js"),
        ("return 'ok'", "returned a string", "a.js"),
        ("return {ok: true}", "returned an object, and no webhook", "a.js"),
        ("return [1]", "returned an array of number", "a.js"),
        ("const a = {action: 'a'}; a.a = a; return a", "circular reference", "a.js"),
        ("return {action: 'a', amount: 0 / 0}", "amount is no number (NaN or infinite)", "a.js"),
        ("return {action: 'a', attributes: {deep: [{amount: 1 / 0}]}}", "amount is no number", "a.js"),
        ("return {action: 'a', wait: Promise.resolve(1)}", "wait is a promise", "a.js"),
        ("return {action: 'a', amount: 10n}", "amount is a BigInt", "a.js"),
        ("return {action: 'a', all: new Map([[1, 2]])}", "all is a Map or Set", "a.js"),
        ("return {action: 'a', text: 'x'.repeat(10e6)}", "characters of JSON", "a.js"),
        ("return {action: 'a',\nget value() { return null.x }}", "cannot read property 'x' of null", "a.js:3"),
        ("return {action: 'a',\ntoJSON() { for (;;) { [].pop(); } }}", "ran over 250 ms", "a.js:3"),
        ("return webhook.payload.data.customer.nothing.email", "cannot read property 'email' of undefined", "a.js:2"),
        ("\nconst fs = require('fs')", "require is not defined: a recipe has the language alone", "a.js:3"),
        ("fetch('https://example.com')", "fetch is not defined: a recipe has", "a.js:2"),
        ("new Intl.NumberFormat('en-US')", "Intl is not defined: a recipe has", "a.js:2"),
        ("return (1234.5).toLocaleString('en-US')", "toLocaleString needs locale data", "a.js:2"),
        ("\nfor (;;) [].pop();", "ran over 250 ms", "a.js:3"),
        ("try { for (;;); } catch { return null } finally { return null }", "ran over 250 ms", "a.js:1"),
        ("return /^(a+)+$/.test('a'.repeat(40) + 'b')", "ran over 250 ms", "a.js:2"),
        ("const all = []; for (;;) all.push('x'.repeat(1e6) + all.length)", "took over 64 MB", "a.js:2"),
        ("return new Array(2 ** 32 - 1).join('x')", "join of over 1000000 elements", "a.js:2"),
        ("const f = () => f() + 1;\nreturn f()", "calls itself without an end", "a.js:2"),
        ("let a = {action: 'a'}; for (let i = 0; i < 1e5; i++) a = {action: 'a', a}; return a", "calls itself", "a.js"),
        ("throw new Error('to ada@example.com')", "threw Error", "a.js:2"),
        ("throw 'ada@example.com'", "threw what is no Error", "a.js"),
        ("throw {email: 'ada@example.com'}", "threw what is no Error", "a.js"),
        ("return JSON.parse(webhook.payload.data.customer.email)", "threw SyntaxError", "a.js:2"),
    ],
)
def test_what_cannot_be_sent_is_said_with_its_place(body: str, said: str, place: str) -> None:
    """Each is one failure in words, without a value of the body; the next record runs."""
    of = engine("function handler(webhook) { if (webhook.payload.mend) return {action: 'a'};\n" + body + "\n}")
    text, found = failure(of)
    assert said in text
    assert found == place
    assert "example.com" not in text
    assert run(of, '{"mend": true}') == {"action": "a"}


def test_bodies_of_any_depth_and_text_go_in_and_come_out() -> None:
    """Characters beyond the first plane, NUL, keys that are JavaScript's own, whole numbers; halves become U+FFFD."""
    body = {"data": {"text": "\U0001f600\0é", "__proto__": {"a": 1}, "constructor": 2, "big": 2**53 - 1, "n": None}}
    echo = handler("return {action: 'a', ...webhook.payload}")
    assert run(echo, orjson.dumps(body).decode()) == {"action": "a", **body}
    assert value("'\\ud83d\\ude00'.slice(0, 1) + 'x' + '\\udc00'") == "\ufffdx\ufffd"
    deep = '{"a":' * 400 + "1" + "}" * 400
    assert json.dumps(run(echo, '{"data":' + deep + "}")["data"], separators=(",", ":")) == deep


def test_a_number_beyond_javascripts_is_as_in_the_dashboard() -> None:
    """The language has no other numbers: 2**53 + 1 is rounded, nothing fails."""
    assert run(handler("return {action: 'a', ...webhook.payload}"), '{"n": 9007199254740993}')["n"] == 2**53


@pytest.mark.parametrize(
    "body",
    [
        {f"key_{number}": f"value {number}" for number in range(33_000)},
        [{"product_id": f"pdt_{number}", "quantity": number} for number in range(19_000)],
        list(range(130_000)),
        "x" * 900_000,
    ],
    ids=["names", "objects", "numbers", "text"],
)
def test_the_largest_body_is_within_the_limits(body: Any) -> None:
    """Ingest takes 900 kB, of whatever form: no recipe fails because a body is large."""
    text = json.dumps({"data": body})
    assert 850_000 < len(text) < 950_000
    assert value_of(handler("return {action: 'a', value: JSON.stringify(webhook.payload).length}"), text) > 700_000


# What is not there, and what stands still.


def test_time_is_the_event_s_in_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    """A retry and a replay anywhere see the same moment, whatever the machine's zone."""
    import time

    monkeypatch.setenv("TZ", "Asia/Seoul")
    time.tzset()
    try:
        assert value("[Date.now(), new Date().getTime(), new Date().toISOString()]") == [
            EVENT_MS, EVENT_MS, "2026-10-14T17:46:40.123Z"
        ]  # fmt: skip
        assert value("[Date(), `${new Date(0)}`, new Date().getHours(), new Date().getTimezoneOffset()]") == [
            "Wed Oct 14 2026 17:46:40 GMT+0000 (Coordinated Universal Time)",
            "Thu Jan 01 1970 00:00:00 GMT+0000 (Coordinated Universal Time)", 17, 0,
        ]  # fmt: skip
        assert value(
            "[new Date(2026, 0, 2, 3), new Date('2026-01-02T03:00'), new Date('2026-01-02'), new Date('Jan 2 2026'),"
            " new Date('2026-01-02T03:00+09:00')]"
        ) == [
            "2026-01-02T03:00:00.000Z", "2026-01-02T03:00:00.000Z", "2026-01-02T00:00:00.000Z",
            "2026-01-02T00:00:00.000Z", "2026-01-01T18:00:00.000Z",
        ]  # fmt: skip
        assert value("(d => (d.setHours(5), [d, d instanceof Date, String(new Date('x'))]))(new Date(0))") == [
            "1970-01-01T05:00:00.000Z", True, "Invalid Date"
        ]  # fmt: skip
        assert value("(() => { class Day extends Date {} return new Day(0).getDate(); })()") == 1
    finally:
        monkeypatch.undo()
        time.tzset()


def test_chance_is_the_webhook_s() -> None:
    """The same numbers at every delivery of a webhook, others for another webhook, all from 0 to 1."""
    drawn = value("[Math.random(), Math.random(), Math.random()]")
    assert drawn == value("[Math.random(), Math.random(), Math.random()]")
    assert drawn != value("[Math.random(), Math.random(), Math.random()]", webhook_id="msg_2")
    assert len(set(drawn)) == 3
    many = value("Array.from({length: 4000}, Math.random)")
    assert all(0 <= number < 1 for number in many)
    assert 0.45 < sum(many) / len(many) < 0.55


def test_there_is_the_language_and_nothing_else() -> None:
    """Every global name is ECMAScript's own, or takes no part of the world outside."""
    names = set(value("Object.getOwnPropertyNames(globalThis)"))
    outside = {
        "require", "process", "fetch", "setTimeout", "std", "os", "scriptArgs", "print", "performance", "Atomics",
        "SharedArrayBuffer", "WeakRef", "FinalizationRegistry", "queueMicrotask", "Worker", "navigator", "quickjs",
    }  # fmt: skip
    assert names.isdisjoint(outside)
    assert {"JSON", "Math", "Date", "console", "Promise", "RegExp", "Map"} <= names
    assert value("console.log('ada@example.com') === undefined")


# Nothing is left behind.

LEAKS = {
    "a variable of the file": ("let seen = 0; function handler(w) {{ return {{action: 'a', value: ++seen}}; }}", 1),
    "a cache of the file": (
        "const c = new Map(); function handler() {{ c.set(c.size, 1); return {{action: 'a', value: c.size}}; }}", 1,
    ),
    "an undeclared variable": ("value = typeof seen; seen = 1", "undefined"),
    "a property of the global object": ("value = typeof globalThis.seen; globalThis.seen = 1", "undefined"),
    "a var of indirect eval": ("value = typeof seen; (0, eval)('var seen = 1')", "undefined"),
    "a global that stays": (
        "value = typeof seen; Object.defineProperty(globalThis, 'seen', {value: 1})", "undefined"
    ),
    "a polluted prototype": ("value = typeof {}.seen; Object.prototype.seen = 1", "undefined"),
    "a polluted prototype by a key": (
        "value = typeof {}.seen; const key = '__proto__'; try { ({})[key].seen = 1 } catch {}", "undefined"
    ),
    "a changed method": (
        "value = [1].map(String)[0]; try { Array.prototype.map = () => ['leak'] } catch {}", "1"
    ),
    "a changed static": ("value = JSON.stringify(1); JSON.stringify = () => 'leak'", "1"),
    "a changed built-in": ("value = typeof Map; Map = 1", "function"),
    "a hidden prototype": (
        "const p = Object.getPrototypeOf(async function () {}); value = typeof p.seen; p.seen = 1", "undefined"
    ),
    "an iterator's prototype": (
        "const p = Object.getPrototypeOf([][Symbol.iterator]()); value = typeof p.seen; p.seen = 1", "undefined"
    ),
    "a property of a function": ("value = typeof parseInt.seen; parseInt.seen = 1", "undefined"),
    "the clock": ("value = typeof Date.seen; Date.seen = 1; Date.now = () => 0", "undefined"),
    "a property of a hidden setter": (
        "const s = Object.getOwnPropertyDescriptor(Error.prototype, 'name').set; value = typeof s.seen; s.seen = 1",
        "undefined",
    ),
    "the form of stacks": (
        "const e = Error; value = typeof (e.prepareStackTrace ?? e.stackTraceLimit); e.stackTraceLimit = 1",
        "undefined",
    ),
    "a symbol's property": (
        "const s = Symbol.for('s'); value = typeof Object[s]; Object[s] = 1; globalThis[s] = 1", "undefined"
    ),
    "a pattern's position": ("const p = /a/g; value = p.lastIndex; p.test('aa')", 0),
    "the global object's prototype": (
        "value = typeof Object.getPrototypeOf(globalThis).seen; Object.setPrototypeOf(globalThis, {seen: 1})",
        "undefined",
    ),
    "whether the global object is open": (
        "value = Object.isExtensible(globalThis); Object.preventExtensions(globalThis)", True
    ),
    "a job": ("value = typeof seen; Promise.resolve().then(() => { globalThis.seen = 1 })", "undefined"),
}  # fmt: skip


@pytest.mark.parametrize("way", LEAKS)
def test_nothing_of_one_customer_reaches_the_next(way: str) -> None:
    """Three records in a row see the same world, by whatever way the one before wanted to leave something."""
    text, expected = LEAKS[way]
    of = engine(recipe_of(text))
    assert [run(of)["value"] for _ in range(3)] == [expected] * 3


def test_a_long_answer_of_a_context_that_is_given_up_arrives() -> None:
    """The engine holds a long text in parts once something is put in front of it, and those are nothing to Python."""
    of = handler(
        "Object.defineProperty(globalThis, 'left', {value: 1}); return {action: 'a', value: 'x'.repeat(50000)}"
    )
    assert [len(run(of)["value"]) for _ in range(2)] == [50_000] * 2


WALK = """
const seen = new Map([[globalThis, "globalThis"]]);
const left = [
  globalThis, function* () {}, async () => {}, async function* () {}, [][Symbol.iterator](), "a".matchAll(/a/g),
  new Map()[Symbol.iterator](), new Set()[Symbol.iterator](), ""[Symbol.iterator](), Iterator.from({next() {}}),
  [].values().map(one => one), (function () { "use strict"; return arguments; })(),
];
const own = new Set(left.slice(1));
const unfrozen = [];
while (left.length) {
  const one = left.pop();
  if (one !== globalThis && !own.has(one) && !Object.isFrozen(one)) unfrozen.push(seen.get(one));
  const found = own.has(one) ? [] : Reflect.ownKeys(one).map(key => [key, Object.getOwnPropertyDescriptor(one, key)]);
  for (const [key, {value, get, set}] of [["__proto__", {value: Object.getPrototypeOf(one)}], ...found]) {
    for (const next of [value, get, set]) {
      if (next === null || !["object", "function"].includes(typeof next) || seen.has(next)) continue;
      seen.set(next, `${seen.get(one)}.${String(key)}`);
      left.push(next);
    }
  }
}
return {action: "a", value: [seen.size, unfrozen]};
"""


def test_everything_that_is_built_in_is_frozen() -> None:
    """Looked for from inside of a recipe, by every property and prototype that it can reach."""
    count, unfrozen = run(handler(WALK))["value"]
    assert unfrozen == []
    assert count > 600


def test_ordinary_objects_stay_as_changeable_as_ever() -> None:
    """What is built in is frozen; a recipe's own objects, errors and classes may still override what they inherit."""
    assert value("(() => { const o = {}; o.toString = () => 'mine'; return `${o}`; })()") == "mine"
    assert (
        value("(() => { const e = new Error('a'); e.name = 'Mine'; e.message = 'b'; return `${e}`; })()") == "Mine: b"
    )
    classic = "function A() {} A.prototype.toString = () => 'mine'; A.prototype.constructor = A;"
    assert value(f"(() => {{ {classic} return `${{new A()}}`; }})()") == "mine"
    assert value("(() => { class E extends Error { get name() { return 'E'; } } return `${new E('x')}`; })()") == "E: x"
    assert value("[3, 1, 2].sort().concat([4]).reverse().join()") == "4,3,2,1"
    assert value("(() => { const o = {constructor: 1, valueOf: 2}; o.hasOwnProperty = 3; return o; })()") == {
        "constructor": 1, "valueOf": 2, "hasOwnProperty": 3,
    }  # fmt: skip


def test_memory_that_others_left_behind_costs_no_record() -> None:
    """Promises whose jobs nobody runs are garbage that stays: the context is made anew before a record is blamed."""
    of = handler(
        "const big = 'x'.repeat(1e6) + webhook.eventType; Promise.resolve().then(() => big); return {action: 'a'};"
    )
    for _ in range(200):
        assert run(of) == {"action": "a"}


def test_a_record_is_given_a_second_look_alone_before_it_is_refused() -> None:
    """One that met a limit in a used context has the whole of it in a new one, and a hopeless one is refused once."""
    of = handler("if (webhook.payload.loop) for (;;);\nreturn {action: 'a'};")
    assert run(of, "{}") == {"action": "a"}
    made: list[object] = []
    ready = of._ready

    def counted() -> None:
        made.append(1)
        ready()

    of._ready = counted  # type: ignore[method-assign]
    assert "ran over" in failure(of, '{"loop": true}')[0]
    assert len(made) == 1
    assert run(of, "{}") == {"action": "a"}


def test_another_thread_has_a_context_of_its_own() -> None:
    """The engine's contexts belong to the thread that made them: used from another, its stack check would lie."""
    of = handler("const f = () => f() + 1; if (webhook.payload.deep) f();\nreturn {action: 'a'};")
    found: list[Any] = []

    def elsewhere() -> None:
        found.append(run(of, "{}"))
        found.append(failure(of, '{"deep": true}'))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert found[0] == {"action": "a"}
    assert "calls itself" in found[1][0]
    assert run(of, "{}") == {"action": "a"}


# What is no recipe is refused at start.


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("function handler(webhook) {\n  return webhook\n", "a.js:2 is no JavaScript"),
        ("// a\nfunction handler(webhook) {\n  const = 1;\n}", "a.js:3 is no JavaScript"),
        ("} evil(); {", "a.js:1 is no JavaScript"),
        ("export default function handler(webhook) {}", "without import and export"),
        ("import fs from 'fs';\nfunction handler(webhook) {}", "without import and export"),
        ("function handle(webhook) {}", "a.js has no function handler(webhook)"),
        ("", "a.js has no function handler(webhook)"),
        ("const handler = 5", "a.js has no function handler(webhook)"),
        ("async function handler(webhook) { return webhook; }", "async or a generator"),
        ("function* handler(webhook) { yield webhook; }", "async or a generator"),
        (
            "const fs = require('fs');\nfunction handler(webhook) {}",
            "a.js:1: outside its handler it threw ReferenceError",
        ),
        ("\nfor (;;) [].pop();\nfunction handler(webhook) {}", "a.js:2: outside its handler it ran over 250 ms"),
        ("Object.defineProperty(globalThis, 'a', {value: 1}); function handler() {}", "cannot be taken away again"),
    ],
)
def test_what_is_no_recipe_is_refused_with_its_line(text: str, said: str) -> None:
    """At start, in one line, before a record is touched."""
    with pytest.raises(SettingsError) as caught:
        engine(text)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "const handler = webhook => webhook // the end",
        "'use strict';\nvar handler = function (webhook) { return webhook }",
        "let handler; handler = (webhook) => { return webhook }",
        "\ufefffunction handler(webhook) { return webhook } <!-- old",
    ],
)
def test_a_handler_may_be_written_in_any_way(text: str) -> None:
    """A declaration, a constant or an arrow, strict or not, with a comment at the very end."""
    assert isinstance(engine(text).run(0, Call("a", "{}", 0, "msg_1")), Untouched)


def test_without_the_extra_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine is no dependency of who does not use it."""
    import builtins

    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name == "quickjs":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(SettingsError, match=r"pip install 'dodo-customerio\[javascript\]'"):
        engine("function handler() {}")


def test_the_prelude_lies_below_every_recipe() -> None:
    """An error's line tells the recipe from what it runs in: a recipe has fewer bytes than lines stand before that."""
    from pipeline.transform.javascript.recipes import RECIPE_MAX_BYTES

    assert engines.PRELUDE_LINE > RECIPE_MAX_BYTES
