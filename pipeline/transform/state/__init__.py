"""Who each customer is and what they have spent: a set of facts that only grows, how it is kept, and what follows.

Promises: a fact that comes again, late or out of order changes nothing (`facts.merge` is commutative, associative and
idempotent), so every total is a function of the set; a webhook sees all facts of the webhooks before it, durable or
not; a local copy that is lost or broken is restored from the topic, and one that is the last copy is never thrown away.

Two halves. What facts mean is pure: `gather` reads those of one webhook, `book` is the profile that the mapping asks,
`named` has names for the fields of facts, `sheet` sums up, `commands` fills (backfill) and empties (forget),
`household` and `shares` add up people who are several customers. How they are kept does input and output: `store` has
the partitions of this worker, each a `mirror` in LMDB in a place of its own (`slot`), brought up to the topic
(`restoration`, `changelog`), written over by the chunks on their way (`mirrored_shelf`), and cleaned (`upkeep`).
`shelf` is the seam between the two. Open `facts` next.
"""

from __future__ import annotations
