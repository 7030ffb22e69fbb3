"""The result of a replay: sentences for people, a document for programs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pipeline.deadletters.plan import Plan
from pipeline.deadletters.replayer import Replayer
from pipeline.errors import PipelineError


class Report:
    """Filled while a plan is carried out.

    Attributes:
        replayer: carries it out; None before it begins.
        interrupted: whether it was stopped before its end.
        error: the error that ended it.
    """

    def __init__(self, plan: Plan, *, dry_run: bool) -> None:
        self._plan = plan
        self._dry_run = dry_run
        self.replayer: Replayer | None = None
        self.interrupted = False
        self.error: PipelineError | None = None

    @property
    def put_back(self) -> int:
        """Letters that were put back and have a receipt."""
        return self.replayer.put_back if self.replayer else 0

    @property
    def in_doubt(self) -> int:
        """Letters that may have been put back, but have no receipt."""
        return self.replayer.in_flight if self.replayer else 0

    @property
    def failed(self) -> int:
        """Letters that could not be put back."""
        return len(self.replayer.failures) if self.replayer else 0

    @property
    def left(self) -> int:
        """Letters of the plan that were not tried: by an interruption or error, or since they no longer existed."""
        return self._plan.count - self.put_back - self.in_doubt - self.failed

    @property
    def ok(self) -> bool:
        """Whether all letters that were asked for were put back, or would be, for a dry run."""
        meant_but_done = bool(self._plan.rules.filter.places) and self._plan.done > 0
        return not (self._plan.refused or meant_but_done or self.failed or (self.left and not self._dry_run))

    def sentences(self) -> Iterator[str]:
        """The result for people, line by line."""
        count = self._plan.count
        yield f"{self.put_back:,} of {count:,} put back" + (", then stopped" if self.interrupted else "")
        for failure in self.replayer.failures if self.replayer else ():
            yield f"{failure.letter.place} was not put back: {failure.reason}"
        if self.in_doubt:
            yield f"{self.in_doubt:,} more may be back, which could not be noted: they would go a second time"
        if self.left and (self.interrupted or self.error):
            yield f"{self.left:,} are left: the same command goes on with them"
        elif self.left:
            yield f"{self.left:,} were gone: retention deleted them, or somebody else put them back meanwhile"

    def document(self) -> dict[str, Any]:
        """The result for programs, as JSON."""
        plan = self._plan
        return {
            "dry_run": self._dry_run,
            "planned": plan.count,
            "put_back": self.put_back,
            "failed": self.failed,
            "in_doubt": self.in_doubt,
            "left": self.left,
            "refused": plan.refused,
            "put_back_before": plan.done,
            "repeated": plan.repeated,
            "beyond_limit": plan.beyond,
            "would_die_again": plan.doomed,
            "interrupted": self.interrupted,
            "error": None if self.error is None else str(self.error),
            "plan": [
                {
                    "stage": line.stage,
                    "class": line.class_,
                    "type": line.type,
                    "topic": line.topic,
                    "letters": letters,
                }
                for line, letters in plan.lines.items()
            ],
            "refusals": [
                {"reason": reason, "letters": refusals.count, "first": [str(place) for place in refusals.places]}
                for reason, refusals in plan.refusals.items()
            ],
            "failures": [
                {"letter": str(failure.letter.place), "reason": failure.reason}
                for failure in (self.replayer.failures if self.replayer else ())
            ],
        }
