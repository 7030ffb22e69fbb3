"""Records on their way out.

`producer` is an idempotent producer that takes whole batches, `outgoing` the chunks that are sent with it, `outlet` the
queue of a partition, `sending` what callers ask of it; `appending` takes records one at a time (ingest), `aside` those
that may be lost. `partitioner` is Java's murmur2, `write_gate` lets nothing leave when this process may not write,
`stalls` reports what waits too long. Open `producer` next.
"""
