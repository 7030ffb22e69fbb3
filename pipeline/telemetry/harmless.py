"""Keeps errors in the making of spans from the stages: such an error is a log line and no more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from pipeline import logs

P = ParamSpec("P")
R = TypeVar("R")

log = logs.get(__name__)

_failures: Counter[str] = Counter()


def harmless(work: Callable[P, R]) -> Callable[P, R | None]:
    """`work`, but returning None where it would raise; its 1st, 2nd, 4th, 8th … failure is logged."""

    @wraps(work)
    def tried(*args: P.args, **kwargs: P.kwargs) -> R | None:
        try:
            return work(*args, **kwargs)
        except Exception:  # whatever it was, it must not reach a webhook
            _failures[work.__qualname__] += 1
            failures = _failures[work.__qualname__]
            if failures.bit_count() == 1:
                log.exception("A span failed", where=work.__qualname__, failures=failures)
            return None

    return tried
