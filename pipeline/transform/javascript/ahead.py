"""Recipes run before their answers are asked for: slices of webhooks in a thread, beside the mapping of those before.

A recipe sees nothing but its webhook, so that it does not matter when it runs. The engine works without Python's global
lock while it runs a slice. What it cannot answer here, a failure above all, is run again alone (`Engine.run`), where a
limit is one record's and an error has its line.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, NamedTuple

import orjson

from pipeline.transform.javascript.engine import Engine
from pipeline.transform.javascript.recipes import Recipe
from pipeline.transform.shaping.types import Webhook

SLICES_KEPT: Final = 8
"""Of webhooks whose answers nobody asked for, such as those that the default mapping drops. Several chunks can be in
the making at once where some wait for Dodo's API."""

ARRAY_LENGTH: Final = 16
"""Requests that the engine has as objects at once: what it holds must not become so much that it looks for cycles."""

ARRAY_MAX_BYTES: Final = 256 * 1024
"""Of their JSON: as objects it takes up to fifty times that, and the engine's memory has a limit (`engine`)."""

Words = list[str | None]
"""What the engine answers to each request; None: it must be asked alone."""


class _Place(NamedTuple):
    """Where the answers to one webhook are; the webhook is held so that no other body has its address meanwhile."""

    webhook: Webhook
    first: int
    end: int


class _Slice(NamedTuple):
    places: dict[int, _Place]
    words: Future[Words]


class Ahead:
    """Answers of `recipes` about webhooks that will be asked about soon.

    Args:
        recipes: as the shaper has them.
        asked: by type, the numbers of the recipes that are asked.
    """

    def __init__(self, recipes: Sequence[Recipe], asked: Callable[[str], tuple[int, ...]]) -> None:
        self._asked = asked
        self._recipes = recipes
        self._engine: Engine | None = None  # the thread's own
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="recipes")
        self._slices: deque[_Slice] = deque(maxlen=SLICES_KEPT)

    def begin(self, webhooks: Sequence[Webhook]) -> None:
        """Have the recipes run on these, in the background."""
        requests: list[tuple[int, str, object, int, str]] = []
        places = {}
        for webhook in webhooks:
            if asked := self._asked(webhook.type):
                places[id(webhook.body)] = _Place(webhook, len(requests), len(requests) + len(asked))
                requests += [(one, webhook.type, webhook.body, webhook.event_ms, webhook.id) for one in asked]
        try:
            texts = [orjson.dumps(requests[at : at + ARRAY_LENGTH]) for at in range(0, len(requests), ARRAY_LENGTH)]
        except TypeError:  # what orjson cannot write
            return
        if texts and max(map(len, texts)) <= ARRAY_MAX_BYTES:
            words = self._thread.submit(self._run, [text.decode() for text in texts], len(requests))
            self._slices.append(_Slice(places, words))

    def words(self, webhook: Webhook) -> Words | None:
        """The engine's answers to the recipes that are asked about `webhook`, in their order; None: there are none.

        Waits for a slice that is still running, for the engine's limit of time at most.
        """
        for slice_ in self._slices:
            place = slice_.places.get(id(webhook.body))
            if place is not None and place.webhook == webhook:
                return slice_.words.result()[place.first : place.end]
        return None

    def _run(self, texts: list[str], count: int) -> Words:
        if self._engine is None:
            self._engine = Engine(self._recipes)
        words = self._engine.run_all(*texts)
        return words + [None] * (count - len(words))
