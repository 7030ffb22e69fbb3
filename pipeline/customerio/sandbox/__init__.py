"""A strict stand-in for Customer.io's Track API v2, to develop and test against without an account.

`dodo-cio sandbox` serves `/api/v2/entity`, `/api/v2/batch` and `/api/v1/accounts/region` as documented, refuses what
the documentation does not allow (the smaller reading where it contradicts itself), deduplicates events by ULID, limits
the rate, plays fault scripts, and shows people, events and requests under `/__sandbox/`. Promises: what it accepts is
valid by the published OpenAPI document, and every refusal has reason, field and message. Open `track` next.
"""

from __future__ import annotations

from pipeline.customerio.sandbox.app import create_sandbox
from pipeline.customerio.sandbox.config import SandboxConfig

__all__ = ["SandboxConfig", "create_sandbox"]
