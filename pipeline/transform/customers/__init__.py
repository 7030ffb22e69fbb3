"""Who each customer is and what they have spent: a set of facts that only grows, and what follows from it.

Promises: a fact that comes again, late or out of order changes nothing (`facts.merge` is commutative, associative and
idempotent), so every total is a function of the set; a webhook sees all facts of the webhooks before it, durable or
not.

Here is what facts mean: `observations` reads those of one webhook, `merged_facts` merges them with what is known,
`customer_view` is the profile that the mapping asks, `named` has names for the fields of facts, `summary` sums up,
`turns` and `cancelling` order what happened to a subscription, `commands` fills (backfill) and empties (forget),
`shared_person` and `shares` add up people who are several customers. How they are kept, in a store with a changelog, is
`pipeline.statestore`'s. Open `facts` next.
"""

from __future__ import annotations
