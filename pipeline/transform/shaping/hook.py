"""A user's own function as a shaper (`PIPELINE_TRANSFORM=package.module:function`)."""

from __future__ import annotations

import importlib
import inspect
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from hashlib import sha256
from itertools import islice
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any, Final, NamedTuple

from pipeline.dodo.catalogue import TYPES
from pipeline.errors import RulesError, ShapingError
from pipeline.observers import tell
from pipeline.settings import PREFIX
from pipeline.transform.shaping.applied import EVENTS_MAX
from pipeline.transform.shaping.claims import CLAIMS, Transform
from pipeline.transform.shaping.types import Event, Identify, Known, Shaped, Webhook

VARIABLE: Final = f"{PREFIX}TRANSFORM"
FORM: Final = f"{VARIABLE} must look like package.module:function"
VERSION_CHARS: Final = 12
ARGUMENTS: Final = 3


class HookCalled(NamedTuple):
    """A call of the user's function took longer than its budget; it blocks the event loop, so all else waited."""

    function: str
    took_s: float


class Hook:
    """The shaper that calls a user's function after the default mapping.

    Args:
        function: the user's.
        name: `package.module:function`, for messages.
        version: hash of the file that it was read from.
        budget_s: how long one call may take, in seconds; a longer one is reported as `HookCalled`.
    """

    is_checked: Final = False

    def __init__(self, function: Transform, name: str, version: str, *, budget_s: float = 0.05) -> None:
        self._function, self._name, self._budget_s = function, name, budget_s
        self.version = version
        self.claims: frozenset[str] = getattr(function, CLAIMS, frozenset())
        self.observe: Callable[[HookCalled], None] = _nobody

    def shape(self, webhook: Webhook, default: Shaped, know: Callable[[], Known]) -> Shaped:
        """See `Shaper`."""
        shown = _shown(default)
        known = know()
        began = time.perf_counter()
        try:
            returned = self._function(webhook._replace(body=MappingProxyType(webhook.body)), shown, known)
            shaped = self._shaped(returned)
        except ShapingError as error:
            raise ShapingError(str(error), place=error.place or self._name) from None
        except MemoryError:
            raise
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a user's code, and one webhook
            line = _line(error, self._function)
            place = f"{self._name}:{line}" if line else self._name
            raise ShapingError(f"{place} failed: {type(error).__name__}", place=place) from None
        finally:
            took_s = time.perf_counter() - began
            if took_s > self._budget_s:
                tell((self.observe,), HookCalled(self._name, took_s))
        return default if returned is shown else _plain(shaped, shown, default)

    def _shaped(self, returned: Any) -> Shaped:
        match returned:
            case Shaped():
                return returned
            case Event():
                return Shaped(None, (returned,))
            case Identify():
                return Shaped(returned)
            case None:
                raise ShapingError(
                    f"{self._name} returned nothing: return default to change nothing, [] to send nothing"
                )
        if inspect.isawaitable(returned):
            if inspect.iscoroutine(returned):
                returned.close()
            raise ShapingError(f"{self._name} returned a promise ({type(returned).__name__}): it is not awaited")
        if isinstance(returned, str | bytes | Mapping) or not isinstance(returned, Iterable):
            what = type(returned).__name__
            raise ShapingError(
                f"{self._name} returned a {what}: it must be Shaped, Event, Identify or several of those"
            )
        identify: Identify | None = None
        events: list[Event] = []
        for one in islice(returned, EVENTS_MAX + 2):  # a generator may have no end
            if isinstance(one, Event):
                events.append(one)
            elif isinstance(one, Identify) and identify is None:
                identify = one
            else:
                what = "two Identify" if isinstance(one, Identify) else f"a {type(one).__name__} among them"
                raise ShapingError(f"{self._name} returned {what}: it must be one Identify at most, and Events")
        return Shaped(identify, tuple(events))


def load_hook(name: str, *, budget_s: float = 0.05) -> Hook:
    """The shaper of `package.module:function`.

    Raises:
        RulesError: there is no such function, it cannot be imported, or it does not take what it is called with.
    """
    module_name, colon, function_name = name.partition(":")
    if not colon or not all(part.isidentifier() for part in (*module_name.split("."), function_name)):
        raise RulesError(f"{FORM}, not {name!r}")
    module = _imported(module_name)
    function = getattr(module, function_name, None)
    if function is None:
        known = [one for one in vars(module) if callable(getattr(module, one)) and not one.startswith("_")]
        from pipeline.transform.shaping.rules.document import meant

        raise RulesError(f"{VARIABLE}: {module_name} has no {function_name}{meant(function_name, known)}")
    if not callable(function):
        raise RulesError(f"{VARIABLE}: {name} is a {type(function).__name__} and no function")
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise RulesError(
            f"{VARIABLE}: {name} is async, and nobody awaits it: the state of a webhook cannot wait for others"
        )
    try:
        inspect.signature(function).bind(*range(ARGUMENTS))
    except (TypeError, ValueError) as error:
        raise RulesError(f"{VARIABLE}: {name} must take (webhook, default, known): {error}") from None
    claimed: Any = getattr(function, CLAIMS, frozenset())
    if not isinstance(claimed, frozenset) or not all(isinstance(type_, str) and "." in type_ for type_ in claimed):
        raise RulesError(f"{VARIABLE}: the claims of {name} are Dodo types, such as {next(iter(TYPES))}")
    return Hook(function, name, _version(module), budget_s=budget_s)


def _imported(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise RulesError(
                f"{VARIABLE}: no module {error.name}: install it beside dodo-cio, or name its folder in PYTHONPATH"
            ) from None
        raise RulesError(f"{VARIABLE}: {name} needs the module {error.name}, which is not installed") from None
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a user's module may raise anything
        frame = traceback.extract_tb(error.__traceback__)[-1]
        raise RulesError(
            f"{VARIABLE}: {name} cannot be imported: {type(error).__name__}: {error} ({frame.filename}:{frame.lineno})"
        ) from None


@cache
def _version(module: ModuleType) -> str:
    """The first characters of a hash of the module's file and of its package's `__version__`, if it has one.

    Worked out once a process: the file may have changed when the rules are loaded anew, while the code that runs is
    still the old one.
    """
    read_from = module.__file__
    content = Path(read_from).read_bytes() if read_from is not None else module.__name__.encode()
    package = sys.modules.get(module.__name__.partition(".")[0])
    told = str(getattr(package, "__version__", "")).encode()
    return sha256(content + told).hexdigest()[:VERSION_CHARS]


def _shown(default: Shaped) -> Shaped:
    """The default as read-only views: its attributes are shared, and the user's function must not modify them."""
    identify = default.identify
    return Shaped(
        None if identify is None else Identify(MappingProxyType(identify.attributes)),
        tuple(event._replace(attributes=MappingProxyType(event.attributes)) for event in default.events),
    )


def _plain(shaped: Shaped, shown: Shaped, default: Shaped) -> Shaped:
    """Put the mapping's own attributes back in place of their views, so that `applied` sees what is unchanged."""
    pairs = list(zip(shown.events, default.events, strict=True))
    held = {id(view.attributes): event.attributes for view, event in pairs}
    if shown.identify is not None and default.identify is not None:
        held[id(shown.identify.attributes)] = default.identify.attributes
    given: Any = shaped  # a user's code may break its annotations; `applied` refuses what cannot be sent
    identify, events = given.identify, given.events
    if isinstance(identify, Identify):
        identify = Identify(held.get(id(identify.attributes), identify.attributes))
    if isinstance(events, tuple):
        events = tuple(
            one._replace(attributes=held.get(id(one.attributes), one.attributes)) if isinstance(one, Event) else one
            for one in events
        )
    return Shaped(identify, events, given.notes)


def _line(error: BaseException, function: Transform) -> int | None:
    """The last line of the function's own file in the traceback."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    own = code.co_filename if code is not None else None
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == own]
    return frames[-1].lineno if frames else None


def _nobody(_event: HookCalled) -> None:
    """The observer until `checked_shaper_of` sets one."""
