"""What a process reports about itself: probes, metrics, and whether its partitions make progress.

Promises: `/ready` is true only while records can flow through this process; `/live` fails only when a partition has
waiting records and has made no progress for minutes, never because Kafka or Customer.io is slow; `/metrics` is one
Prometheus registry a process, filled by observers from frozen records of what happened; the status page in `page` shows
the same to people. Knows Kafka's membership, no stage. Open `pulse` next.
"""

from __future__ import annotations
