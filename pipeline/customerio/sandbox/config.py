"""The settings of a sandbox: one frozen value, set at its start."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

from pipeline.customerio.limits import BODY_MAX_BYTES, ITEM_MAX_BYTES
from pipeline.customerio.sandbox.faults import Step

Region = Literal["us", "eu"]

KEEP_EVENTS: Final = 100_000
"""About 100 MB of payment events; of older ones only the ids are kept."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Largest sizes in bytes that are still accepted."""

    entity_bytes: int
    item_bytes: int
    body_bytes: int


STRICT: Final = Limits(entity_bytes=ITEM_MAX_BYTES - 1, item_bytes=ITEM_MAX_BYTES, body_bytes=BODY_MAX_BYTES)
"""With kb = 1,000, and "must be smaller than" where the documentation has these words."""

LENIENT: Final = Limits(entity_bytes=32 * 1024, item_bytes=32 * 1024, body_bytes=500 * 1024)
"""With kb = 1,024, and "or smaller"."""


@dataclass(frozen=True, slots=True)
class SandboxConfig:
    """Settings of one sandbox.

    Attributes:
        site_id: user name that is accepted; None accepts any that is not empty.
        api_key: password that is accepted; None accepts any.
        region: the one of the workspace.
        wrong_region: play the host of the other region. A workspace of the EU is then redirected with 301, one of the
            US is refused with 401, as both have been described.
        environment_id: the workspace's number in the region endpoint's answer.
        rate_limit: requests per second, counted over a sliding second of arrivals; None does not limit.
        retry_after: value of the Retry-After header of a 429 of the rate limit, as in a fault script.
        latency_ms: pause between arrival and processing.
        lenient: accept all that may be valid: kb of 1,024 bytes, numeric ids, `anonymous_id`, event ids that are no
            ULID, timestamps that are no integer (replaced by now), long event attributes, empty batches.
        all_refused_status: answer to a batch of which every item is refused.
        oversize_status: answer to a body that is too large.
        email_updates: whether an identify by id may change an e-mail address ("allow updates to email using ID").
        keep_events: events kept for inspection; ids stay known for deduplication.
        keep_requests: requests kept for inspection.
        fast: keep no attributes and no bodies, give no hints: for benchmarks.
        order_by: the value by which a person's events must arrive in ascending order: the event's `timestamp`, or the
            name of a numeric attribute (a sequence number).
        faults: steps of the fault script at start.
    """

    site_id: str | None = None
    api_key: str | None = None
    region: Region = "us"
    wrong_region: bool = False
    environment_id: int = 1
    rate_limit: float | None = None
    retry_after: float | str | None = None
    latency_ms: float = 0.0
    lenient: bool = False
    all_refused_status: Literal[207, 400] = 207
    oversize_status: Literal[400, 413] = 400
    email_updates: bool = True
    keep_events: int = KEEP_EVENTS
    keep_requests: int = 1_000
    fast: bool = False
    order_by: str = "timestamp"
    faults: tuple[Step, ...] = field(default=())

    @property
    def limits(self) -> Limits:
        """The byte limits of the mode."""
        return LENIENT if self.lenient else STRICT
