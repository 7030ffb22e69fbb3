"""The transform's series: an observer of what each chunk came to, and of what was asked for at Dodo."""

from __future__ import annotations

from typing import Final, get_args

from pipeline.kafka.producer.aside import WrittenAside
from pipeline.transform.chunk_stats import ChunkTransformed
from pipeline.transform.enrichment import CustomerLookedUp
from pipeline.transform.product_lookups import ProductLookedUp
from pipeline.transform.shadow import ShadowCompared
from pipeline.transform.shaping.hook import HookCalled
from pipeline.transform.shaping.reloading import ShadowLoaded, ShaperLoaded
from pipeline.transform.verdicts import DeadLetterClass, Note
from pipeline.watch.letters import observe_letters
from pipeline.watch.metrics import OTHER, RECORDS, SECONDS, Metrics

MOST_NAMES: Final = 200
"""Of events, four times as many as there are; whatever makes more of them, the rest is counted together."""


def observe_transform(metrics: Metrics) -> None:
    """Register the transform's series and their handler."""
    webhooks = metrics.counter(
        "webhooks",
        "Webhooks by type (unknown ones are `other`) and by what became of them: operations, dropped (and why), dead "
        "letters (and their class), sent on to the owner of their customer.",
        ["type", "outcome", "reason"],
    )
    given_up = observe_letters(metrics, get_args(DeadLetterClass))
    operations = metrics.counter(
        "operations", "Operations sent on, by kind and event name (beyond 200 names `other`).", ["kind", "name"]
    )
    notes = metrics.counter(
        "mapping_notes",
        "What the mapping noticed: cut attributes, late events, unknown currencies, …",
        ["note"],
        begins=[(note,) for note in get_args(Note)],
    )
    size = metrics.counter("webhook_bytes", "Bytes of webhook bodies.")
    records = metrics.histogram("chunk_records", "Records of a chunk.", buckets=RECORDS)
    mapping = metrics.histogram("mapping_seconds", "Time of mapping a chunk.", buckets=SECONDS)
    produce = metrics.histogram(
        "produce_seconds", "Time until everything that a chunk caused was durable.", buckets=SECONDS
    )

    names: set[str] = set()

    def handle(chunk: ChunkTransformed) -> None:
        for labels, count in chunk.webhooks.items():
            webhooks.labels(*labels).inc(count)
            _, outcome, reason = labels
            if outcome == "dead_letter":
                given_up(reason, count)
        for (kind, name), count in chunk.operations.items():
            if name not in names:
                if len(names) >= MOST_NAMES:
                    name = OTHER  # noqa: PLW2901 - counted under another one
                names.add(name)
            operations.labels(kind, name).inc(count)
        for note, count in chunk.notes.items():
            notes.labels(note).inc(count)
        size.inc(chunk.bytes)
        records.observe(chunk.records)
        mapping.observe(chunk.mapping_s)
        produce.observe(chunk.produce_s)

    metrics.on(ChunkTransformed, handle)
    lookups = metrics.counter(
        "customer_lookups",
        "Customers asked for at Dodo's API: found, or nobody (unknown, or no answer in time).",
        ["outcome"],
        begins=[("found",), ("nobody",)],
    )
    metrics.on(CustomerLookedUp, lambda event: lookups.labels(event.outcome).inc())
    live = metrics.gauge("rules_info", "1 for the version of the rules that are live.", ["version"])
    reloads = metrics.counter(
        "rules_reloads", "New rules: taken, or refused.", ["outcome"], begins=[("taken",), ("refused",)]
    )

    def loaded(event: ShaperLoaded) -> None:
        live.clear()
        live.labels(event.version).set(1)
        if event.outcome != "started":
            reloads.labels(event.outcome).inc()

    metrics.on(ShaperLoaded, loaded)
    slow = metrics.counter("transform_slow_calls", "Calls of the user's own function over their budget.")
    metrics.on(HookCalled, lambda _event: slow.inc())
    products = metrics.counter(
        "product_lookups",
        "Products asked for at Dodo's API: found, nameless (unknown, or without a name), failed.",
        ["outcome"],
        begins=[("found",), ("nameless",), ("failed",)],
    )
    metrics.on(ProductLookedUp, lambda event: products.labels(event.outcome).inc())
    _observe_shadow(metrics)


def _observe_shadow(metrics: Metrics) -> None:
    """The candidate beside the live rules."""
    webhooks = metrics.counter(
        "shadow_webhooks",
        "Webhooks on which the candidate of PIPELINE_SHADOW_RULES was tried: same, differs, error (it failed as none "
        "may; what is live went on).",
        ["outcome"],
        begins=[("same",), ("differs",), ("error",)],
    )
    found = metrics.counter(
        "shadow_differences", "What the candidate would change, by Dodo's type (unknown ones are `other`).",
        ["kind", "type"],
    )  # fmt: skip
    seconds = metrics.counter(
        "shadow_seconds", "Time that the candidate cost, beside `mapping_seconds` of which it is a part."
    )
    live = metrics.gauge(
        "shadow_rules_info", "1 for the version of the candidate; `none`: it cannot be used.", ["version"]
    )
    reloads = metrics.counter(
        "shadow_reloads", "New candidates: taken, or refused.", ["outcome"], begins=[("taken",), ("refused",)]
    )
    records = metrics.counter(
        "shadow_records",
        "Records for PIPELINE_SHADOW_TOPIC: written, or lost (nothing waits for them).",
        ["outcome"],
        begins=[("written",), ("lost",)],
    )

    def compared(event: ShadowCompared) -> None:
        webhooks.labels(event.outcome).inc()
        for kind in event.kinds:
            found.labels(kind, event.type).inc()
        seconds.inc(event.took_s)

    def loaded(event: ShadowLoaded) -> None:
        live.clear()
        live.labels(event.version).set(1)
        if event.outcome != "started":
            reloads.labels(event.outcome).inc()

    def written(event: WrittenAside) -> None:
        records.labels("written").inc(event.written)
        records.labels("lost").inc(event.lost)

    metrics.on(ShadowCompared, compared)
    metrics.on(ShadowLoaded, loaded)
    metrics.on(WrittenAside, written)
