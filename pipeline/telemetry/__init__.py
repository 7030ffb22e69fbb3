"""Traces: one for a webhook, from ingest to Customer.io's answer. Off unless `PIPELINE_OTLP_ENDPOINT` is set.

Enters: spans that a stage has ended. Leaves: batches of them to an OpenTelemetry collector, by the official SDK, which
is an optional extra. Never waits for the collector, never affects the flow, and holds no personal data. Open `opening`
next.
"""
