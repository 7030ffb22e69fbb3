"""What became of a webhook: followed through all topics, from ingest to Customer.io, by its id, payment or customer.

Promises: nothing is committed, joined or written; what is said is what lies in the topics and what the groups have
committed, and where a thing is concluded rather than read (why a webhook caused nothing) it is decided by the worker's
own function. `wanted` says what is looked for, `search` reads, `again` decides anew, `assembly` puts the `story`
together, `advice` says what to do. Open `assembly` next.
"""
