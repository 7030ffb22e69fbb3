"""Compares what a recipe would send for one webhook with what the default mapping sends. Offline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

import orjson

from pipeline.customerio.sandbox.actions import validate
from pipeline.dodo.envelope import parse, webhook_id_of
from pipeline.errors import ShapingError
from pipeline.settings import Settings
from pipeline.transform.copies import Copy
from pipeline.transform.explain import Explanation, explain
from pipeline.transform.javascript.engine import Call, Engine, Sent, Untouched
from pipeline.transform.javascript.recipes import Recipe, load_recipes
from pipeline.transform.timestamps import plausible_ms

Word = Literal["payloads", "untouched", "nothing", "failed", "not asked"]

ABSENT: Final = object()


class Raw(NamedTuple):
    """What one recipe returns, and why Customer.io would refuse that if it were sent unchanged.

    `refusals` has a list for each payload, empty where Customer.io would accept it; for an untouched webhook the
    payload is Dodo's body. `reason` is why the recipe failed, with its place.
    """

    file: str
    word: Word
    payloads: tuple[Any, ...] = ()
    refusals: tuple[tuple[str, ...], ...] = ()
    reason: str | None = None


class Difference(NamedTuple):
    """An attribute with two values; `where` is profile or event. A side that does not send it has no key."""

    where: str
    attribute: str
    sides: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Comparison:
    """One webhook mapped three times: by the recipes alone, by the pipeline with them, and by the default mapping."""

    recipes: tuple[Raw, ...]
    shaped: Explanation
    default: Explanation

    @property
    def differences(self) -> tuple[Difference, ...]:
        """The attributes that differ with the recipes, the profile's first."""
        found = []
        for where in ("profile", "event"):
            ours, theirs = _told(self.default, where), _told(self.shaped, where)
            for name in {**theirs, **ours}:
                sides = {side: held[name] for side, held in (("recipe", theirs), ("default", ours)) if name in held}
                if sides.get("recipe", ABSENT) != sides.get("default", ABSENT):
                    found.append(Difference(where, name, sides))
        return tuple(found)

    def document(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "webhook_type": self.default.webhook_type,
            "webhook_id": self.default.webhook_id,
            "recipes": [
                {
                    "file": raw.file,
                    "answer": raw.word,
                    "payloads": list(raw.payloads),
                    "refusals": [list(one) for one in raw.refusals],
                    "reason": raw.reason,
                }
                for raw in self.recipes
            ],
            "with_recipe": self.shaped.document(),
            "default": self.default.document(),
            "differences": [{"where": one.where, "attribute": one.attribute, **one.sides} for one in self.differences],
        }


def beside(copy: Copy, settings: Settings, *, webhook_id: str | None = None) -> Comparison:
    """One webhook with the recipes of `settings.javascript` and without them.

    Raises:
        SettingsError: the recipes, or another file that a setting names, cannot be used.
        UnreadableBodyError: it is not a webhook.
    """
    identifier = webhook_id or copy.webhook_id or webhook_id_of((), copy.body)
    recipes = load_recipes(settings.javascript) if settings.javascript is not None else ()
    without = settings.model_copy(update={"javascript": None})
    return Comparison(
        recipes=_raw(copy, recipes, identifier),
        shaped=explain(copy, settings, webhook_id=identifier),
        default=explain(copy, without, webhook_id=identifier),
    )


def _raw(copy: Copy, recipes: Sequence[Recipe], webhook_id: str) -> tuple[Raw, ...]:
    envelope = parse(copy.body)
    engine = Engine(recipes)
    body = orjson.dumps(envelope.fields).decode()
    call = Call(envelope.type, body, plausible_ms(envelope.timestamp) or 0, webhook_id)
    found = []
    for index, recipe in enumerate(recipes):
        if not recipe.is_for(envelope.type):
            found.append(Raw(recipe.name, "not asked"))
            continue
        try:
            answer = engine.run(index, call)
        except ShapingError as error:
            found.append(Raw(recipe.name, "failed", reason=f"{error.place}: it {error}"))
            continue
        match answer:
            case Sent(payloads=payloads):
                found.append(Raw(recipe.name, "payloads", payloads, tuple(map(_refusals, payloads))))
            case Untouched():
                found.append(Raw(recipe.name, "untouched", refusals=(_refusals(envelope.fields),)))
            case _:
                found.append(Raw(recipe.name, "nothing"))
    return tuple(found)


def _refusals(payload: Any) -> tuple[str, ...]:
    return tuple(f"{one.field} {one.message}" for one in validate(payload))


def _told(explanation: Explanation, where: str) -> dict[str, Any]:
    """Attributes of the identify, or of the first event with its name."""
    for operation in explanation.operations:
        if where == "profile" and operation.kind == "identify":
            attributes: dict[str, Any] = orjson.loads(operation.body)["attributes"]
            return attributes
        if where == "event" and operation.kind == "event":
            event = orjson.loads(operation.body)
            return {"(name)": event["name"], **event["attributes"]}
    return {}
