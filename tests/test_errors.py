"""The exception tree is what its drawing says."""

from __future__ import annotations

import inspect
import re
import signal

import pytest

from pipeline import errors
from pipeline.errors import (
    BrokerUnreachableError,
    ClosedPipeError,
    ConfigurationError,
    InputError,
    PipelineError,
    ToolMissingError,
)

CLASSES: dict[str, type[PipelineError]] = {
    name: cls for name, cls in vars(errors).items() if inspect.isclass(cls) and issubclass(cls, PipelineError)
}


def drawn() -> dict[str, str | None]:
    """Class → parent, as drawn in the module's docstring."""
    tree: dict[str, str | None] = {}
    parents: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"    (?P<bars>(?:│   |    )*)(?P<branch>[├└]── )?(?P<name>\w+Error)\b", line)
        if found:
            depth = len(found["bars"]) // 4 + bool(found["branch"])
            parents[depth:] = [found["name"]]
            tree[found["name"]] = parents[depth - 1] if depth else None
    return tree


def test_drawing_is_the_tree() -> None:
    """Every class stands in the drawing under its parent, and nothing else does."""
    assert drawn() == {name: None if cls is PipelineError else cls.__mro__[1].__name__ for name, cls in CLASSES.items()}


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_exit_codes(name: str) -> None:
    """2 means that the caller must change something, 1 that it may work the next time, as without a broker.

    141 is what a shell reports of a program whose reader has gone.
    """
    cls = CLASSES[name]
    if cls is ClosedPipeError:
        assert cls.exit_code == 128 + signal.SIGPIPE
        return
    must_change = issubclass(cls, ConfigurationError | InputError | ToolMissingError)
    assert cls.exit_code == (2 if must_change and cls is not BrokerUnreachableError else 1)
