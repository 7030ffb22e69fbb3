"""Traces: one for a webhook, from ingest to Customer.io's answer. Off unless `PIPELINE_OTLP_ENDPOINT` is set.

What enters: spans that a stage ends. What leaves: batches of them to an OpenTelemetry collector, by the official SDK,
which is an optional extra. Never waits for the collector, never touches the flow, and holds no personal data. Open
`opening` next.
"""
