"""Who each customer is and what they have spent: a set of facts that only grows, and what follows from it.

Promises: a fact that is told again, late or out of order changes nothing (`facts.merge` is commutative, associative
and idempotent), so every total is a function of the set. All here is pure: a `shelf` holds one partition's facts and
knows nothing of their meaning; `gather` reads the facts of one webhook, `sheet` sums a customer's facts up, `book` is
the profile that the mapping asks, `commands` fills (backfill) and empties (forget). Open `facts` next.
"""

from __future__ import annotations
