"""How records move: the only room that speaks Kafka.

Promises: an offset is committed only after its record was acknowledged, in order, under a live membership
(`batches`, `app`); what is sent is durable before it counts as sent (`producer`); topics, security, lag and a local
broker are each one module. Knows nothing of Dodo, Customer.io or the stages. Open `batches` next.
"""

from __future__ import annotations
