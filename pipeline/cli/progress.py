"""The progress bars that commands show on long reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

STEP = 500
"""Records between two updates of the bar."""


@contextmanager
def bar(description: str, total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar on standard error if that is a terminal; yields the function that sets the number done."""
    with share(description, total) as tell:
        yield lambda done: tell(done, total)


@contextmanager
def share(description: str, total: int | None = None) -> Iterator[Callable[[int, int], None]]:
    """The same with a total that may change: yields the function that sets the number done and the total."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns,
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as progress:
        task = progress.add_task(description, total=total)
        yield lambda done, of: progress.update(task, completed=done, total=of)


@contextmanager
def reading(total: int) -> Iterator[Callable[[], None]]:
    """A bar over `total` records; yields the function to call for each that was read."""
    with bar("Reading dead letters", total) as tell:
        count = 0

        def read() -> None:
            nonlocal count
            count += 1
            if not count % STEP:
                tell(count)

        yield read
