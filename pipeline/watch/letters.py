"""The series of dead letters, the same in every stage, so that one alert covers all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pipeline.watch.metrics import Metrics


def observe_letters(metrics: Metrics, classes: Sequence[str]) -> Callable[[str, int], None]:
    """Register `dodo_cio_dead_letters_total`, each of `classes` at 0; returns the function that counts letters."""
    letters = metrics.counter(
        "dead_letters",
        "Records given up and kept as dead letters, by class and by the stage that gave them up.",
        ["class", "stage"],
        begins=[(class_, metrics.stage) for class_ in classes],
    )

    def count(class_: str, number: int) -> None:
        letters.labels(class_, metrics.stage).inc(number)

    return count
