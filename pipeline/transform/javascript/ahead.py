"""Recipes run before they are asked: on a slice of webhooks in one call of the engine.

A recipe sees nothing but its webhook, so that it does not matter when it runs. Between two decisions the engine finds
its code and data in none of the processor's caches and takes twice as long, and so does the decision behind it. What
cannot be answered here, a failure above all, is run again alone (`Engine.run`), where a limit is one record's and an
error has its line.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import orjson

from pipeline.transform.javascript.engine import Engine
from pipeline.transform.shaping.types import Webhook

SLICES_KEPT: Final = 8
"""Of webhooks whose answers nobody asked for, such as those that the default mapping drops. Several chunks can be in
the making at once where some wait for Dodo's API."""

SLICE_MAX_BYTES: Final = 512 * 1024
"""Of its JSON: as objects it takes up to fifty times that, and the engine's memory has a limit (`engine`)."""


class _Place(NamedTuple):
    """Where the answers to one webhook are; the webhook is held so that no other body has its address meanwhile."""

    webhook: Webhook
    first: int
    end: int


class _Slice(NamedTuple):
    places: dict[int, _Place]
    words: list[str | None]


class Ahead:
    """Answers of an engine's recipes about webhooks that will be asked about soon.

    Args:
        engine: of the thread that asks.
        asked: by type, the numbers of the recipes that are asked.
    """

    def __init__(self, engine: Engine, asked: Callable[[str], tuple[int, ...]]) -> None:
        self._engine = engine
        self._asked = asked
        self._slices: deque[_Slice] = deque(maxlen=SLICES_KEPT)

    def run(self, webhooks: Sequence[Webhook]) -> None:
        """Have the recipes run on these, as far as they go together."""
        requests: list[tuple[int, str, object, int, str]] = []
        places = {}
        for webhook in webhooks:
            if asked := self._asked(webhook.type):
                places[id(webhook.body)] = _Place(webhook, len(requests), len(requests) + len(asked))
                requests += [(one, webhook.type, webhook.body, webhook.event_ms, webhook.id) for one in asked]
        try:
            text = orjson.dumps(requests)
        except TypeError:  # what orjson cannot write
            return
        if places and len(text) <= SLICE_MAX_BYTES:
            words = self._engine.run_all(text.decode())
            self._slices.append(_Slice(places, words + [None] * (len(requests) - len(words))))

    def words(self, webhook: Webhook) -> list[str | None] | None:
        """The engine's answers to the recipes that are asked about `webhook`, in their order; None: there are none."""
        for slice_ in self._slices:
            place = slice_.places.get(id(webhook.body))
            if place is not None and place.webhook == webhook:
                return slice_.words[place.first : place.end]
        return None
