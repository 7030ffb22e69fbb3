"""Where webhooks enter: an HTTP request in, a durable Kafka record out.

Promises: `200` only after `acks=all`; a forged or stale request is 401 and leaves no trace in the topics; one that is
genuine but no webhook is kept as a dead letter, since a retry would not help; when Kafka is slow or down the answer is
503 with Retry-After within 10 s, and nothing an attacker sends becomes a 5xx. `endpoint` answers, `records` decides
what is stored, `producer` stores it, `server` runs the process. Open `endpoint` next.
"""

from __future__ import annotations

from typing import Final

PATH: Final = "/webhooks/dodo"
"""Where webhooks are taken."""
