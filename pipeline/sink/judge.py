"""The judge: whose fault it is that nothing came of a request, the record's own or everybody's.

| what came | given up | when |
|---|---|---|
| 5xx, no answer, anything unexplained | as `undeliverable` | an innocent record would not have failed so often (`poison.patience`), and others succeeded for minutes meanwhile |
| 429 | never | |
| 400 or 413 of a proxy's own making, 401, 403, a redirect | as `refused` | an innocent record would not have been refused so often |
| 413 of a proxy's own making, with nobody else there | as `refused` | others were accepted since it was first refused, and it was refused ten times more |
| 400 or 413 in Customer.io's words | as `refused` | another one was accepted since; or nobody else fails; or it names a field of this operation, for minutes, and few others are refused in the same words |

Pure: keeps the results of requests, and takes the time as an argument.
"""  # noqa: E501 - a table

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from pipeline.customerio.fields import names_field_of
from pipeline.customerio.outcomes import Refusal
from pipeline.sink.doubt import Doubt, Whose
from pipeline.sink.group import Group
from pipeline.sink.poison.patience import ATTEMPTS_ALONE, Verdict
from pipeline.sink.poison.suspects import others_fail, refused_alike
from pipeline.sink.witnesses import NEAR, Witnesses

SUSPECT_FAILURES: Final = 5
"""After so many failures with no success of anybody, the lane tries other people's operations as well."""

EVERYBODY: Final = 4
"""From so many customers on, whose operations are refused in the same words while nothing is accepted, the words are
not believed: in a quiet hour two or three may be there for a fault of their own, hardly four."""


TOO_LARGE: Final = 413

LONELY_ATTEMPTS: Final = 10
"""So often one operation is refused for its size, with no request of others in between, before it is given up: of a
thousand that a proxy refuses every second time, one is."""


@dataclass(frozen=True, slots=True)
class Ruling:
    """What follows from a failure.

    Attributes:
        verdict: send it again, halve it, or give the record up.
        aside: another person's operation goes first, to be compared with.
        soon: others are accepted, so that trying again soon shows whose fault it is and burdens nobody.
        others_pass: some were accepted since it was first refused, so it is no sign of an outage.
    """

    verdict: Verdict
    aside: bool = False
    soon: bool = False
    others_pass: bool = False


AGAIN: Final = Ruling("again")


@dataclass(frozen=True, slots=True)
class KeyRuling(Ruling):
    """The same for refused credentials.

    Attributes:
        whose: whether everybody's are refused; None when others were accepted since these were refused before.
        stubborn: one operation, refused again and again while nothing at all is accepted.
    """

    whose: Whose | None = "unknown"
    stubborn: bool = False


class Judge:
    """Judges the groups of all lanes of one sink. Belongs to one event loop.

    Args:
        patience_s: seconds that operations may fail while others are accepted.
    """

    def __init__(self, patience_s: float) -> None:
        self.witnesses = Witnesses()
        self._doubt = Doubt()
        self._patience_s = patience_s

    def accepted(self, group: Group, begun: float, ended: float) -> None:
        """A request that was sent at `begun` was accepted at `ended`, some of its operations at least."""
        self.witnesses.accepted(begun, ended, compares=not group.patience.is_old(self._patience_s))
        self._doubt.accepted(begun)

    def moved(self) -> None:
        """The partitions were assigned anew."""
        self._doubt.moved()

    def failed(self, group: Group, now: float) -> Ruling:
        """A request failed, and no answer gives the cause. Not for a 429."""
        patience = group.patience
        others, is_first = self.witnesses.since(patience.mark), patience.failed_at is None
        verdict = patience.failed(len(group.items), now, self.witnesses, self._patience_s)
        late = patience.lone_s >= self._patience_s
        few = (others.after + others.before).requests < NEAR
        aside = not is_first and group.failures >= SUSPECT_FAILURES and (not others.successes or (late and few))
        return Ruling(verdict, aside=aside, soon=late and others.successes > 0)

    def refused_by_proxy(self, group: Group, now: float, status: int) -> Ruling:
        """An operation that is alone was refused with a 400 or 413 that Customer.io did not write.

        A 413 names a cause that lies in the operation; but a proxy whose limit is below any request answers so to
        everybody. So it is believed after some attempts in a quiet hour too, when nobody else is asked about, if others
        were accepted since it was first refused: those of its batch, for the most part.
        """
        mark = group.rejections.mark
        others = self.witnesses.since(mark)
        verdict = group.rejections.failed(1, now, self.witnesses, 0.0)
        compared = group.compared_since is not None and self.witnesses.after(group.compared_since)
        is_quiet = mark is None or not (others.after + others.before).requests
        if status != TOO_LARGE or not compared or not (is_quiet or others.successes):
            return Ruling(verdict, aside=True, soon=others.successes > 0)
        group.lonely = group.lonely + 1 if is_quiet else 0
        verdict = "give-up" if group.lonely >= LONELY_ATTEMPTS else verdict
        return Ruling(verdict, aside=True, soon=True, others_pass=True)

    def key_refused(self, group: Group, now: float) -> KeyRuling:
        """The credentials of a request were refused, or it was redirected."""
        last_at = group.rejections.failed_at
        told_apart = last_at is not None and self.witnesses.after(last_at)
        verdict = group.rejections.failed(len(group.items), now, self.witnesses, 0.0)
        evidence = self._doubt.refused(group.items, now)
        whose = None if told_apart else evidence
        if len(group.items) > 1:
            return KeyRuling("halve", whose=whose)
        stubborn = group.rejections.tries >= ATTEMPTS_ALONE and not group.rejections.alone
        return KeyRuling(verdict, aside=True, soon=told_apart, whose=whose, stubborn=stubborn)

    def is_own(
        self, group: Group, refusal: Refusal, last_at: float | None, now: float, all_: Collection[Group]
    ) -> bool:
        """Whether a refusal in Customer.io's words for an operation that is alone is that operation's own fault.

        Args:
            group: the operation.
            refusal: the words.
            last_at: when it was refused before, as part of a larger group if not by itself.
            now: when it was refused.
            all_: whatever is being delivered now.
        """
        if last_at is not None and self.witnesses.after(last_at):
            return True
        if group.failures + 1 < ATTEMPTS_ALONE:
            return False
        if not others_fail(all_, group):
            return True  # in a quiet hour there may be no others to compare with
        waited_s = now - (now if group.refused_since is None else group.refused_since)
        return (
            waited_s >= self._patience_s
            and names_field_of(refusal, group.items[0].body)
            and refused_alike(all_, group) < EVERYBODY
        )
