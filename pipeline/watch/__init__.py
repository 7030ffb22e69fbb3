"""What a process says about itself: probes, metrics, and whether work moves.

Promises: `/ready` is true only while records can flow here; `/live` fails only when the work of a partition waits and
has stood still for minutes, never because Kafka or Customer.io is slow; `/metrics` is one Prometheus registry a
process, filled by observers from frozen records of what happened; the status page in `page` shows the same to people.
Knows Kafka's membership, no stage. Open `pulse` next.
"""

from __future__ import annotations
