"""The whole chain in one command, with a proof at the end.

Starts a local Apache Kafka (or uses the given one), the Customer.io sandbox, ingest, transform and sink as the
processes that an operator would start; posts a simulated shop's signed webhooks; waits until everything is
delivered; compares what each place holds with what the shop knows. Promises: every number in the table is counted
twice by independent means, and nothing that was started is left behind. `reconcile` decides, `run` conducts.
"""

from __future__ import annotations
