"""What an answer of the Track API means for the batch that was sent, as types to `match` on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b

from pipeline.reasons import clean_reason


@dataclass(frozen=True, slots=True)
class Refusal:
    """Customer.io's reason for refusing one operation, or a whole request, in its own words, which are compared.

    They may quote what was sent: only `text` is shown. Several errors about one operation are joined with `; `.
    `status` is the HTTP status of the answer.
    """

    reason: str | None
    field: str | None
    message: str | None
    status: int

    @property
    def text(self) -> str:
        """The whole reason in one line, cleaned, for a dead letter and the log."""
        parts = [
            f"{label}: {clean_reason(value)}"
            for label, value in (("reason", self.reason), ("field", self.field), ("message", self.message))
            if value
        ]
        return ", ".join(parts) or "no reason given"

    @property
    def words(self) -> bytes:
        """A digest of what was said: the same of two refusals in the same words."""
        said = repr((self.reason, self.field, self.message))
        return blake2b(said.encode("utf-8", "replace"), digest_size=16).digest()


@dataclass(frozen=True, slots=True)
class Accepted:
    """Every operation was accepted."""


@dataclass(frozen=True, slots=True)
class PartlyRefused:
    """The operations at `refused` are refused for good; all others were accepted.

    Attributes:
        refused: index in the batch → why.
        unmatched: the beginning of the raw answer when it also has errors that name no operation of this batch. Then
            nobody knows which of the operations outside `refused` was accepted: send those once more, alone.
    """

    refused: Mapping[int, Refusal]
    unmatched: str | None = None


@dataclass(frozen=True, slots=True)
class Split:
    """The request as a whole was refused, nothing was applied: halve it until the operation at fault is alone.

    Attributes:
        refusal: why; in a batch of one operation it is the reason against that operation.
        from_api: whether the answer has the form that Customer.io documents. If not (the HTML page of a proxy, for
            example), the operation may be valid even if it is alone.
    """

    refusal: Refusal
    from_api: bool


@dataclass(frozen=True, slots=True)
class RetryLater:
    """Nothing is known to be accepted: send the same bytes again.

    Attributes:
        after_s: seconds that the server asked to wait, at most 300; None when it named none.
        status: the HTTP status.
        reason: one line for logs.
    """

    after_s: float | None
    status: int
    reason: str


@dataclass(frozen=True, slots=True)
class Unauthorized:
    """401 or 403: the credentials are wrong or were withdrawn, or a firewall refuses what the request contains."""

    status: int
    reason: str


@dataclass(frozen=True, slots=True)
class WrongRegion:
    """A redirect: the workspace lives in the other region, or a firewall shows its page. Treated as `Unauthorized` is.

    Never followed.
    """

    status: int
    location: str | None


Outcome = Accepted | PartlyRefused | Split | RetryLater | Unauthorized | WrongRegion
