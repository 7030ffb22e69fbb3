"""What Dodo knew before the pipeline, brought to the workers that own the customers; and customers to be forgotten.

Enters: Dodo's API, by time of creation. Leaves: command records in the webhooks topic, under the customer's key, so
that the owning worker takes them in order with the customer's webhooks. Promises: each object at least once, and a
second time changes nothing; a run that was stopped goes on where it was; no command asks for an event. `commands` are
the records, `backfill` is the run, `journal` its memory, `whole` fills what list items lack.
"""

from __future__ import annotations
