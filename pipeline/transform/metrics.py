"""The transform's series: an observer of what each chunk came to.

| series | labels | counts |
|---|---|---|
| `dodo_cio_webhooks_total` | type, outcome, reason | webhooks by what became of them; `sent_on` to their owner |
| `dodo_cio_operations_total` | kind, name | operations sent on, by kind and event name |
| `dodo_cio_mapping_notes_total` | note | cut attributes, late events and whatever else the mapping noticed |
| `dodo_cio_webhook_bytes_total` | | bytes of webhook bodies |
| `dodo_cio_chunk_records` | | records of a chunk |
| `dodo_cio_mapping_seconds` | | time of mapping a chunk |
| `dodo_cio_produce_seconds` | | time until everything that a chunk caused was durable |
| `dodo_cio_customer_lookups_total` | outcome | customers asked for at Dodo: `found`, `nobody` |
| `dodo_cio_rules_info` | version | 1 for the rules that are live |
| `dodo_cio_rules_reloads_total` | outcome | new rules, `taken` or `refused` |
| `dodo_cio_transform_slow_calls_total` | | calls of the user's own function over their budget |
| `dodo_cio_product_lookups_total` | outcome | products asked for at Dodo: `found`, `nameless`, `failed` |
"""

from __future__ import annotations

from pipeline.transform.introductions import CustomerLookedUp
from pipeline.transform.product_lookups import ProductLookedUp
from pipeline.transform.shaping.hook import HookCalled
from pipeline.transform.shaping.reloading import ShaperLoaded
from pipeline.transform.tally import ChunkTransformed
from pipeline.watch.metrics import RECORDS, SECONDS, Metrics


def observe_transform(metrics: Metrics) -> None:
    """Register the transform's series and their handler."""
    webhooks = metrics.counter(
        "webhooks", "Webhooks by type and by what became of them.", ["type", "outcome", "reason"]
    )
    operations = metrics.counter("operations", "Operations sent on, by kind and event name.", ["kind", "name"])
    notes = metrics.counter("mapping_notes", "What the mapping noticed: cut attributes, late events, …", ["note"])
    size = metrics.counter("webhook_bytes", "Bytes of webhook bodies.")
    records = metrics.histogram("chunk_records", "Records of a chunk.", buckets=RECORDS)
    mapping = metrics.histogram("mapping_seconds", "Time of mapping a chunk.", buckets=SECONDS)
    produce = metrics.histogram(
        "produce_seconds", "Time until everything that a chunk caused was durable.", buckets=SECONDS
    )

    def handle(chunk: ChunkTransformed) -> None:
        for labels, count in chunk.webhooks.items():
            webhooks.labels(*labels).inc(count)
        for (kind, name), count in chunk.operations.items():
            operations.labels(kind, name).inc(count)
        for note, count in chunk.notes.items():
            notes.labels(note).inc(count)
        size.inc(chunk.bytes)
        records.observe(chunk.records)
        mapping.observe(chunk.mapping_s)
        produce.observe(chunk.produce_s)

    metrics.on(ChunkTransformed, handle)
    lookups = metrics.counter("customer_lookups", "Customers asked for at Dodo's API.", ["outcome"])
    metrics.on(CustomerLookedUp, lambda event: lookups.labels(event.outcome).inc())
    live = metrics.gauge("rules_info", "The version of the rules that are live.", ["version"])
    reloads = metrics.counter("rules_reloads", "New rules by what became of them.", ["outcome"])
    for outcome in ("taken", "refused"):
        reloads.labels(outcome)

    def loaded(event: ShaperLoaded) -> None:
        live.clear()
        live.labels(event.version).set(1)
        if event.outcome != "started":
            reloads.labels(event.outcome).inc()

    metrics.on(ShaperLoaded, loaded)
    slow = metrics.counter("transform_slow_calls", "Calls of the user's own function over their budget.")
    metrics.on(HookCalled, lambda _event: slow.inc())
    products = metrics.counter("product_lookups", "Products asked for at Dodo's API.", ["outcome"])
    metrics.on(ProductLookedUp, lambda event: products.labels(event.outcome).inc())
