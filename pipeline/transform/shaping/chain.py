"""Several shapers in a row: what one returns is the default of the next."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pipeline.transform.shaping.applied import look_ahead, may_change
from pipeline.transform.shaping.types import Known, Shaped, Shaper, Webhook


class Chain:
    """A shaper that calls several in their order; its version is theirs, joined."""

    def __init__(self, parts: Sequence[Shaper]) -> None:
        self.parts = tuple(parts)
        self.version = "+".join(part.version for part in parts)
        self.is_checked = all(getattr(part, "is_checked", False) for part in parts)
        self.claims = frozenset[str]().union(*(part.claims for part in parts))

    def touches(self, type_: str, events: frozenset[str]) -> bool:
        """Whether any of them may change a webhook of this type that emits some of these events; see `may_change`."""
        return any(may_change(part, type_, events) for part in self.parts)

    def ahead(self, webhooks: Sequence[Webhook]) -> None:
        """Show them to each that looks ahead; see `look_ahead`."""
        for part in self.parts:
            look_ahead(part, webhooks)

    def shape(self, webhook: Webhook, default: Shaped, know: Callable[[], Known]) -> Shaped:
        """See `Shaper`."""
        notes: tuple[str, ...] = ()
        shaped = default
        for part in self.parts:
            before, shaped = shaped, part.shape(webhook, shaped, know)
            if shaped is not before and shaped.notes:
                notes += shaped.notes
        return shaped._replace(notes=notes) if notes else shaped
