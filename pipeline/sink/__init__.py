"""The last stage: records of `customerio.operations` in, batches of Customer.io's Track API out.

Promises: each operation ends exactly once as accepted or as a dead letter, and only then is its record acknowledged;
one person's operations arrive in order, through retries, splits and rebalances; the rate of the workspace is kept and
an outage or a wrong key holds the flow without losing any of it. `lanes` orders, `batching` fills, `delivery` brings
one batch to its end; `app` is the Faust shell. Open `delivery` next.
"""

from __future__ import annotations
