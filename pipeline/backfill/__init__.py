"""Brings a shop's past from Dodo's API into the customers' state; and the command records for it, and to forget one.

Enters: objects of Dodo's API, by time of creation. Leaves: command records in the webhooks topic, under the customer's
key, so that the owning worker takes them in order with the customer's webhooks. Promises: each object at least once,
and a second time changes nothing; a run that was stopped continues where it was; no command causes an event.
`commands` are the records, `backfill` is the run, `journal` keeps its progress, `whole` completes list items.
"""

from __future__ import annotations
