"""Recipes as a shaper: what they return replaces the default mapping's result.

A webhook that no recipe touches is sent as the default mapping has it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Final

import orjson

from pipeline.errors import ShapingError
from pipeline.transform.javascript.ahead import Ahead
from pipeline.transform.javascript.answers import Told, told
from pipeline.transform.javascript.engine import Call, Cancelled, Engine, Sent
from pipeline.transform.javascript.recipes import Recipe, version_of
from pipeline.transform.shaping.types import IDENTIFY_ONLY, Event, Identify, Known, Shaped, Webhook

CANCELLED: Final = "the recipe wants nothing to be sent of this webhook"
NO_PROFILE: Final = "no recipe identifies: of the person nothing is told, where the default mapping would"


class JavaScript:
    """Shapes webhooks by `recipes`; `chain` is the identity policy.

    Raises:
        SettingsError: the engine is not installed, or a file is not a recipe.
    """

    is_checked: Final = False

    def __init__(self, recipes: Sequence[Recipe], chain: tuple[str, ...]) -> None:
        self._recipes = tuple(recipes)
        self._chain = chain
        self._engine = Engine(self._recipes)
        self._ahead = Ahead(self._engine, self._numbers)
        self._asked: dict[str, tuple[int, ...]] = {}
        self.version = version_of(self._recipes)
        self.claims = frozenset().union(*(one.types for one in self._recipes if one.types and len(one.types) == 1))

    def shape(self, webhook: Webhook, default: Shaped, know: Callable[[], Known]) -> Shaped:
        """What the recipes send for the webhook, or `default` where none of them touches it.

        The first event is taken for that of the default mapping and has its id, under any name.

        Raises:
            ShapingError: a recipe failed, or what it returned is not an operation for this webhook's customer.
        """
        del know
        asked = self._numbers(webhook.type)
        if not asked:
            return default
        words = self._ahead.words(webhook)
        call: Call | None = None
        payloads: list[tuple[str, object]] = []
        is_touched = False
        for place, index in enumerate(asked):
            word = None if words is None else words[place]
            if word is not None:
                answer = self._engine.answer(index, word)
            else:
                call = call or Call(webhook.type, _text(webhook), webhook.event_ms, webhook.id)
                answer = self._engine.run(index, call)
            if isinstance(answer, Sent):
                name = self._recipes[index].name
                payloads += [(name, payload) for payload in answer.payloads]
                is_touched = True
            elif isinstance(answer, Cancelled):
                is_touched = True
        if not is_touched:
            return default
        return _shaped(told(payloads, webhook.body, self._chain), default)

    def ahead(self, webhooks: Sequence[Webhook]) -> None:
        """Run the recipes on webhooks that `shape` will be asked about next."""
        self._ahead.run(webhooks)

    def _numbers(self, type_: str) -> tuple[int, ...]:
        """The recipes that are asked about webhooks of this type."""
        asked = self._asked.get(type_)
        if asked is not None:
            return asked
        asked = (
            ()
            if type_ in IDENTIFY_ONLY
            else tuple(index for index, recipe in enumerate(self._recipes) if recipe.is_for(type_))
        )
        if len(self._asked) < TYPES_MAX:
            self._asked[type_] = asked
        return asked


TYPES_MAX: Final = 1_000
"""How many types are cached with their recipes. Dodo has 48; a forged or foreign body may have any text as its type."""


def _shaped(said: Told, default: Shaped) -> Shaped:
    notes = []
    if said.profile is None and not said.events:
        notes.append(CANCELLED)
    elif said.profile is None and default.identify is not None:
        notes.append(NO_PROFILE)
    main = default.events[0].origin if default.events else None
    events = tuple(
        Event(event.name, event.attributes, main if number == 0 and main is not None else _stem(event.place))
        for number, event in enumerate(said.events)
    )
    return Shaped(Identify(said.profile) if said.profile is not None else None, events, tuple(notes))


def _stem(place: str) -> str:
    """The file's name without its suffix: ids of further events are made of it, since a recipe may rename them."""
    return place.rpartition(".")[0]


def _text(webhook: Webhook) -> str:
    try:
        return orjson.dumps(webhook.body).decode()
    except TypeError:  # deeper than orjson writes
        try:
            return json.dumps(webhook.body, ensure_ascii=False, separators=(",", ":"))
        except RecursionError:
            raise ShapingError("the body is nested too deep for a recipe") from None
