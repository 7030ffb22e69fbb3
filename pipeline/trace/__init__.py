"""Follows a webhook through all topics, from ingest to Customer.io, by its id, its payment or its customer.

Promises: nothing is committed, joined or written; every statement is read from the topics and the groups' offsets, but
why a webhook caused nothing: that is written nowhere, and the worker's own function decides it again (docs/trace.md).
`wanted` is what is searched for, `search` reads, `again` decides anew, `assembly` puts the `story` together, `advice`
is what to do. Open `assembly` next.
"""
