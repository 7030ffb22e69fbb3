"""Runs recipes in one QuickJS context, with a limit of time and memory for each record, and returns typed answers.

The context has nothing but the language (`prelude.js`, `dates.js`). After every record it is put back into its first
state; after a record that met a limit it is thrown away. It belongs to the thread that made it: another thread makes
its own.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Any, Final, NamedTuple, NoReturn

import orjson

from pipeline.errors import SettingsError, ShapingError
from pipeline.extras import JAVASCRIPT
from pipeline.transform.javascript.recipes import VARIABLE, Recipe

TIME_LIMIT_S: Final = 0.25
"""Processor time of one record: it ends an endless loop. A recipe needs about 0.04 ms, and 100 ms on a busy machine for
the largest body that ingest takes (900 kB). Meanwhile the partitions of this worker wait; their session lasts 10 s. The
engine looks at the time every 10,000 steps of a loop."""

MEMORY_LIMIT_BYTES: Final = 64 * 1024 * 1024
"""Of a context. A body has 900 kB at most, 2 kB as a rule; as objects it takes up to fifty times that."""

STACK_LIMIT_BYTES: Final = 512 * 1024
"""Half of the engine's own default; a thread has 8 MB with glibc, and this much with any libc that we run on."""

PRELUDE_LINE: Final = 300_000
"""The number of the prelude's first line: a smaller line number in an error is the recipe's, whose lines are fewer."""

LINES_OF_FUNCTION: Final = 2
"""Lines that the engine puts before the body of a function that is made of text."""

MESSAGE_CHARS: Final = 200
"""Characters of an error's message that go into the reason of a dead letter."""

LONE: Final = re.compile("[\ud800-\udfff]")
"""A lone surrogate, half of a character: JavaScript allows it in texts that were cut, JSON and Customer.io do not."""

TOLD_KINDS: Final = frozenset({"TypeError", "ReferenceError", "RangeError", "InternalError"})
"""Errors whose message is about the code. Those of parsing quote what was parsed, and `Error` holds what a recipe
threw, perhaps an address: for these a reason has only the kind and the line."""

ABSENT: Final = frozenset(
    {
        *("require", "module", "exports", "process", "Buffer", "window", "document", "Deno"),
        *("fetch", "XMLHttpRequest", "URL", "URLSearchParams", "TextEncoder", "TextDecoder", "crypto", "Intl"),
        *("setTimeout", "setInterval", "setImmediate", "queueMicrotask", "performance", "structuredClone"),
    }
)
"""Names that recipes use which were written for browsers or Node.js, and that are not defined here."""

_FRAME: Final = re.compile(r"^    at .* \(<input>:(\d+):\d+\)$", re.MULTILINE)
_PARSED: Final = re.compile(r"^    at <input>:(\d+):\d+$", re.MULTILINE)
"""The line at which parsing failed: at the start of a recipe its own, during a run one of the text that it parsed."""

_STACK: Final = re.compile(r"\n    at .*\Z|\nundefined\Z", re.DOTALL)
_UNDEFINED: Final = re.compile(r"^(\w+) is not defined$")


class Call(NamedTuple):
    """What a recipe is called with: one webhook.

    Args:
        type: Dodo's type.
        body: the body as JSON text.
        event_ms: when it happened, unix milliseconds: the time that the recipe's clock shows.
        webhook_id: the seed of the recipe's random numbers, so that a retry gets the same.
    """

    type: str
    body: str
    event_ms: int
    webhook_id: str


class Untouched(NamedTuple):
    """The recipe returned the webhook as it was given."""


class Cancelled(NamedTuple):
    """The recipe wants nothing to be sent: it returned null, or set `cancel`."""


class Sent(NamedTuple):
    """What the recipe wants to be sent, as JSON values."""

    payloads: tuple[Any, ...]


Answer = Untouched | Cancelled | Sent

UNTOUCHED: Final = Untouched()
CANCELLED: Final = Cancelled()


class LimitError(Exception):
    """A recipe met a limit in a context in which others had run before; it is run once more, in a new one."""


class Engine:
    """Runs `recipes` on webhooks.

    Raises:
        SettingsError: the engine is not installed, or a file is not a recipe; names file, line and what to do.
    """

    def __init__(self, recipes: Sequence[Recipe]) -> None:
        self._recipes = tuple(recipes)
        self._made_by: int | None = None
        self._is_used = False
        self._host: Any = None
        self._context: Any = None
        self._ready()

    def run(self, index: int, call: Call) -> Answer:
        """What the recipe at `index` makes of the webhook.

        Raises:
            ShapingError: it failed, met a limit, or returned what cannot be sent; the place is file and line.
        """
        if self._made_by != threading.get_ident():
            self._ready()
        try:
            return self._run(index, call)
        except LimitError:
            self._ready()  # memory that earlier records left behind may have filled it: alone, it has the whole limit
            return self._run(index, call)

    def run_all(self, requests: str) -> list[str | None]:
        """What `answer` reads for each of `requests`, as far as it goes; None where only `run` can tell.

        Args:
            requests: a JSON array of arrays: number of the recipe, type, body, event time in unix ms, webhook-id. All
                of them together have the time and memory of one record; what meets a limit ends the list.
        """
        if self._made_by != threading.get_ident():
            self._ready()
        self._is_used = True
        try:
            text: str = self._host("runAll", requests)
        except Exception:  # noqa: BLE001 - as in a run; whose fault it is `run` finds out
            self._made_by = None
            return []
        if text[:1] == "!":
            self._made_by, text = None, text[1:]
        return [word if word != "?" else None for word in text.split("\n")[:-1]]

    def answer(self, index: int, word: str) -> Answer:
        """What the recipe at `index` answered by `word`.

        Raises:
            ShapingError: it returned what cannot be sent; the place is the file.
        """
        recipe = self._recipes[index]
        match word:
            case "untouched":
                return UNTOUCHED
            case "null":
                return CANCELLED
            case "undefined":
                _refuse(recipe, "returned nothing: return webhook to send it, null to send nothing on purpose")
            case "promise":
                _refuse(recipe, "returned a promise: there is nothing here to wait for; leave async and await out")
        if word[0] != "[":
            _refuse(recipe, f"returned {_of_kind(word)}, and no webhook with a payload of Customer.io's")
        return Sent(tuple(_values(word)))

    def _run(self, index: int, call: Call) -> Answer:
        recipe = self._recipes[index]
        is_alone, self._is_used = not self._is_used, True
        try:
            word = self._host("run", index, call.type, call.body, float(call.event_ms), call.webhook_id)
        except Exception as error:  # noqa: BLE001 - the wrapper raises plain subclasses of it
            failure = _failure(recipe, error)
            if failure.met_limit:
                self._made_by = None
                if not is_alone:
                    raise LimitError from None
            raise ShapingError(failure.text, place=failure.place) from None
        if word[0] == "!":
            self._made_by, word = None, word[1:]
        return self.answer(index, word)

    def _ready(self) -> None:
        """Make a new context, of this thread."""
        self._host = None
        self._context = context = _context()
        host = context.eval(_prelude())
        for recipe in self._recipes:
            _add(context, host, recipe)
        self._host = host
        self._made_by = threading.get_ident()
        self._is_used = False


class _Failure(NamedTuple):
    text: str
    place: str
    met_limit: bool


def _context() -> Any:
    try:
        import quickjs
    except ImportError:
        raise JAVASCRIPT.lacking() from None
    context = quickjs.Context()
    context.set_memory_limit(MEMORY_LIMIT_BYTES)
    context.set_max_stack_size(STACK_LIMIT_BYTES)
    context.set_time_limit(TIME_LIMIT_S)
    return context


@cache
def _prelude() -> str:
    dates, prelude = (
        (resources.files(__package__) / name).read_text(encoding="utf-8") for name in ("dates.js", "prelude.js")
    )
    return "\n" * (PRELUDE_LINE - 1) + "{" + dates + prelude + "}"  # a block: its constants are no recipe's globals


def _add(context: Any, host: Any, recipe: Recipe) -> None:
    try:
        host("parse", recipe.text)
    except Exception as error:  # noqa: BLE001 - as in a run
        raise SettingsError(f"{VARIABLE}: {_syntax(recipe, error)}") from None
    try:
        # On the first line, so that lines stay; the end on one of its own, for a comment may be the last.
        offered = host("add", context.eval(f"(function () {{{recipe.text}\n;{_OFFER}}})"))
    except Exception as error:  # noqa: BLE001
        failure = _failure(recipe, error)
        raise SettingsError(f"{VARIABLE}: {failure.place}: outside its handler it {failure.text}") from None
    match offered:
        case "nothing":
            raise SettingsError(f"{VARIABLE}: {recipe.name} has no function handler(webhook)")
        case "async":
            raise SettingsError(
                f"{VARIABLE}: {recipe.name}: its handler is async or a generator and so returns nothing that can be "
                "sent: there is nothing here to wait for; leave async and await out"
            )
        case "unclean":
            raise SettingsError(f"{VARIABLE}: {recipe.name} defines a global property that cannot be taken away again")


_OFFER: Final = 'return typeof handler === "function" ? handler : void 0;\n'


def _syntax(recipe: Recipe, error: Exception) -> str:
    """Why the recipe is not JavaScript, with the line."""
    head, _, message = _STACK.sub("", str(error)).partition(": ")
    if head != "SyntaxError":  # a file that is nested too deep
        return f"{recipe.name} {_failure(recipe, error).text}"
    found = _PARSED.search(str(error))
    last = recipe.text.rstrip("\n").count("\n") + 1
    line = min(max(int(found[1]) - LINES_OF_FUNCTION, 1), last) if found is not None else last
    is_module = re.search(r"^\s*(?:import|export)\b", recipe.text, re.MULTILINE)
    hint = ": a recipe is a plain script, without import and export" if is_module else ""
    return f"{recipe.name}:{line} is no JavaScript: {message}{hint}"


def _failure(recipe: Recipe, error: Exception) -> _Failure:
    """An error of the engine in words: what failed, and where in the recipe; no value of the body.

    For a loop without calls it is the line of its function: the engine does not know it more exactly.
    """
    text = str(error)
    lines = [line for line in map(int, _FRAME.findall(text)) if line < PRELUDE_LINE]
    place = f"{recipe.name}:{lines[0]}" if lines else recipe.name
    head = _STACK.sub("", text)
    kind, _, message = head.partition(": ")
    if type(error).__name__ == "StackOverflow" or message == "Maximum call stack size exceeded":
        return _Failure("calls itself without an end, or made something nested too deep", place, met_limit=True)
    if head == "InternalError: interrupted":
        return _Failure(f"ran over {TIME_LIMIT_S * 1000:.0f} ms: an endless loop?", place, met_limit=True)
    if head in {"InternalError: out of memory", "null"}:
        return _Failure(f"took over {MEMORY_LIMIT_BYTES // 2**20} MB of memory", place, met_limit=True)
    if not lines and not kind.endswith("Error"):
        return _Failure("threw what is no Error, so that its line is unknown", place, met_limit=False)
    if kind not in TOLD_KINDS:
        shown = kind if re.fullmatch(r"\w{1,60}", kind) else "an error"
        return _Failure(f"threw {shown}", place, met_limit=False)
    hint = ""
    if (absent := _UNDEFINED.fullmatch(message)) and absent[1] in ABSENT:
        hint = ": a recipe has the language alone, without modules, network, timers or files"
    shown = re.sub(r"[\x00-\x1f\x7f-\x9f]", " ", message)[:MESSAGE_CHARS]
    return _Failure(f"threw {kind}: {shown}{hint}", place, met_limit=False)


def _of_kind(word: str) -> str:
    return {"object": "an object"}.get(word, word if word.startswith("an array") else f"a {word}")


def _refuse(recipe: Recipe, text: str) -> NoReturn:
    raise ShapingError(text, place=recipe.name)


def _values(text: str) -> list[Any]:
    """The JSON of a result; half characters become U+FFFD, as in every text that is cut."""
    try:
        values: list[Any] = orjson.loads(text)
    except (orjson.JSONDecodeError, UnicodeEncodeError):
        import json

        whole = json.dumps(json.loads(text), ensure_ascii=False)
        values = orjson.loads(LONE.sub("\N{REPLACEMENT CHARACTER}", whole))
    return values
