"""What a webhook means: records of `dodo.webhooks` in, Customer.io operations out.

Promises: the same webhook always becomes the same operations with the same ids; identify before event, both in the
customer's partition; what cannot be mapped becomes a dead letter with its reason. `mapping` decides (pure functions,
one file per Dodo family); `flow` moves chunks, `worker` is the Faust shell; `explain` shows a decision offline.
"""

from __future__ import annotations
