"""The fault script: which requests fail, and how. Steps are data, checked when they are loaded.

A step applies to the first `times` requests that match it. Effects combine: wait, then drop or answer at once, or
process (with some items refused) and then wait, drop, or answer with something else.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

import orjson
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from pipeline import yaml_text
from pipeline.errors import InputError

EXAMPLE: Final = """\
- status: 503                     # the next request is answered with 503 and not processed
  retry_after: 2                  # seconds; "date+2" gives an HTTP date, other text goes as it is
- match: {path: /api/v2/batch, request: 5}
  drop: after                     # the answer to the fifth request is lost after acceptance
- match: {person: cus_1}
  refuse_items: matched           # 207 for this person's items
  times: always
- status: 413
  body: "<html><h1>413 Request Entity Too Large</h1></html>"
  content_type: text/html
- delay_after_s: 20               # accepted, and answered after the client gave up
"""

Times = Literal["always"] | Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(ge=0, le=3600)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Match(_Strict):
    """The requests that a step applies to: those that meet every condition that is set."""

    path: str | None = None
    """The exact path, e.g. /api/v2/batch."""
    request: Annotated[int, Field(ge=1)] | tuple[Annotated[int, Field(ge=1)], ...] | None = None
    """The n-th request to the API since the start or the last reset, counting from 1; or several."""
    every: Annotated[int, Field(ge=1)] | None = None
    """Each n-th request to the API."""
    person: str | None = None
    """Requests with an operation that addresses this person, by whatever identifier."""
    name: str | None = None
    """Requests with an event of this name."""
    item: Annotated[int, Field(ge=0)] | None = None
    """Requests with an operation at this index."""

    @property
    def names_items(self) -> bool:
        """Whether a condition is about the operations inside the request."""
        return not (self.person is None and self.name is None and self.item is None)


class Error(_Strict):
    """The error in the answer for a refused item."""

    reason: str = "invalid"
    field: str = "attributes"
    message: str = "refused by the fault script"


class Step(_Strict):
    """One step of the script."""

    match: Match = Match()
    times: Times = 1
    delay_s: Seconds = 0.0
    """Wait before anything else."""
    drop: Literal["before", "after"] | None = None
    """Cut the connection before or after processing."""
    status: Annotated[int, Field(ge=200, le=599)] | None = None
    """Answer with this status. The request is not processed unless `process` is true."""
    process: bool = False
    body: str | dict[str, Any] | list[Any] | None = None
    """Body of that answer; objects and arrays go as JSON."""
    content_type: str | None = None
    headers: dict[str, str] = {}
    location: str | None = None
    """Location header, for redirects."""
    retry_after: float | str | None = None
    refuse_items: tuple[Annotated[int, Field(ge=0)], ...] | Literal["matched"] | None = None
    """Refuse these items of the request, or those that the match named; the others are processed."""
    error: Error = Error()
    delay_after_s: Seconds = 0.0
    """Wait between processing and the answer."""
    trickle_s: Seconds = 0.0
    """Spread the body of the answer over this time."""

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        effects = (self.delay_s, self.drop, self.status, self.refuse_items, self.delay_after_s, self.trickle_s)
        if not any(effect or effect == () for effect in effects):
            raise ValueError("has no effect: give status, drop, refuse_items, delay_s, delay_after_s or trickle_s")
        if self.refuse_items == "matched" and not self.match.names_items:
            raise ValueError("refuse_items: matched needs match.person, match.name or match.item")
        return self

    @property
    def answers_itself(self) -> bool:
        """Whether the request is answered without being processed."""
        return self.status is not None and not self.process


def retry_after_header(value: float | str, now_s: float | None = None) -> str:
    """A Retry-After header: seconds, `date+N` as an HTTP date N seconds ahead, or any text as it is."""
    if not isinstance(value, str):
        return f"{value:g}"
    ahead = value.removeprefix("date+")
    if ahead != value and ahead.replace(".", "", 1).isdigit():
        return formatdate((time.time() if now_s is None else now_s) + float(ahead), usegmt=True)
    return value


_STEPS = TypeAdapter(tuple[Step, ...])


def parse_steps(value: Any) -> tuple[Step, ...]:
    """Steps from decoded JSON or YAML: a list, one step, or `{"steps": [...]}`.

    Raises:
        InputError: a step is not valid; names the step and the key at fault.
    """
    if isinstance(value, Mapping):
        value = value["steps"] if set(value) == {"steps"} else [value]
    try:
        return _STEPS.validate_python(value)
    except ValidationError as error:
        lines = []
        for fault in error.errors(include_url=False, include_input=False, include_context=False):
            at = ".".join(str(part) for part in fault["loc"][1:])
            step = f"step {fault['loc'][0] + 1}" if fault["loc"] and isinstance(fault["loc"][0], int) else "the script"
            lines.append(f"{step}{': ' + at if at else ''}: {fault['msg'].removeprefix('Value error, ')}")
        raise InputError("\n".join(lines)) from None


def load_steps(path: Path) -> tuple[Step, ...]:
    """Steps from a YAML or JSON file.

    Raises:
        InputError: the file cannot be read, or is not a fault script.
    """
    try:
        value = yaml_text.load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({type(error).__name__})") from None
    except ValueError as error:
        raise InputError(f"{path}: is neither YAML nor JSON: {error}") from None
    try:
        return parse_steps(value if value is not None else [])
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


@dataclass(slots=True)
class _Armed:
    """A step and how often it was taken."""

    step: Step
    taken: int = 0

    @property
    def spent(self) -> bool:
        return self.step.times != "always" and self.taken >= self.step.times


@dataclass(frozen=True, slots=True)
class Fault:
    """A step that was taken, and the items of the request that its match named."""

    step: Step
    items: frozenset[int]

    def refused_items(self, count: int) -> frozenset[int]:
        """Indexes of the request's items to refuse."""
        match self.step.refuse_items:
            case None:
                return frozenset()
            case "matched":
                return self.items
            case indexes:
                return frozenset(index for index in indexes if index < count)


@dataclass(slots=True)
class FaultScript:
    """The steps in force, in order."""

    steps: Iterable[Step] = ()
    _armed: list[_Armed] = field(init=False)

    def __post_init__(self) -> None:
        self._armed = [_Armed(step) for step in self.steps]

    def __bool__(self) -> bool:
        """Whether any step may still be taken."""
        return any(not armed.spent for armed in self._armed)

    def add(self, steps: Iterable[Step]) -> None:
        """Append steps."""
        self._armed.extend(_Armed(step) for step in steps)

    def clear(self) -> None:
        """Remove every step."""
        self._armed.clear()

    def take(self, *, path: str, number: int, operations: Sequence[Any]) -> Fault | None:
        """The first step that the request matches, taken; None when it matches none."""
        for armed in self._armed:
            if armed.spent:
                continue
            items = _matches(armed.step.match, path, number, operations)
            if items is not None:
                armed.taken += 1
                return Fault(armed.step, items)
        return None

    def as_json(self) -> list[dict[str, Any]]:
        """The steps with how often each was taken, for inspection."""
        return [
            orjson.loads(armed.step.model_dump_json(exclude_defaults=True))
            | {"taken": armed.taken, "spent": armed.spent}
            for armed in self._armed
        ]


def _matches(match: Match, path: str, number: int, operations: Sequence[Any]) -> frozenset[int] | None:
    """The items that the match names, or None when the request does not match."""
    if match.path is not None and match.path != path:
        return None
    if match.request is not None and number not in (
        match.request if isinstance(match.request, tuple) else (match.request,)
    ):
        return None
    if match.every is not None and number % match.every:
        return None
    if not match.names_items:
        return frozenset()
    items = frozenset(
        index
        for index, operation in enumerate(operations)
        if (match.item is None or index == match.item) and _names(match, operation)
    )
    return items or None


def _names(match: Match, operation: Any) -> bool:
    if not isinstance(operation, dict):
        return match.person is None and match.name is None
    if match.name is not None and operation.get("name") != match.name:
        return False
    if match.person is None:
        return True
    identifiers = operation.get("identifiers")
    return isinstance(identifiers, dict) and match.person in identifiers.values()
