"""A recipe run on every sample: which types it handles, and on which bodies it fails."""

from __future__ import annotations

from typing import Final, NamedTuple

import orjson

from pipeline.dodo import samples
from pipeline.dodo.envelope import parse
from pipeline.errors import ShapingError
from pipeline.transform.javascript.answers import told
from pipeline.transform.javascript.engine import Call, Engine, Sent, Untouched
from pipeline.transform.javascript.recipes import Recipe

EVENT_MS: Final = 1_791_966_105_000  # the samples' own day


class Failure(NamedTuple):
    """A failure of a recipe on samples: why, where, and on which."""

    text: str
    place: str
    samples: tuple[str, ...]


class Trial(NamedTuple):
    """The types of the samples by what the recipe did; a type with several samples may be in several lists."""

    handled: tuple[str, ...]
    untouched: tuple[str, ...]
    failures: tuple[Failure, ...]


def trial(recipe: Recipe, chain: tuple[str, ...]) -> Trial:
    """Run the recipe on all samples of the types that it is for.

    Raises:
        SettingsError: the file is not a recipe.
    """
    engine = Engine([recipe])
    handled: dict[str, None] = {}
    untouched: dict[str, None] = {}
    failed: dict[tuple[str, str], list[str]] = {}
    for name in samples.names():
        body = samples.load(name)
        envelope = parse(body)
        if not recipe.is_for(envelope.type):
            continue
        try:
            answer = engine.run(0, Call(envelope.type, body.decode(), EVENT_MS, f"msg_{name}"))
            if isinstance(answer, Untouched):
                untouched[envelope.type] = None
                continue
            if isinstance(answer, Sent):
                told([(recipe.name, payload) for payload in answer.payloads], orjson.loads(body), chain)
            handled[envelope.type] = None
        except ShapingError as error:
            failed.setdefault((str(error), error.place or recipe.name), []).append(name)
    failures = tuple(Failure(text, place, tuple(names)) for (text, place), names in failed.items())
    return Trial(tuple(handled), tuple(untouched), failures)
