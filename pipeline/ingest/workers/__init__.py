"""Ingest in several processes on one port, for more webhooks than one core takes.

    supervisor ──starts, replaces, stops──▶ worker 1 … N, each an ingest of its own with a listener of its own
        ▲                                      │ (SO_REUSEPORT: the kernel deals the connections out)
        └───────────────── wire ───────────────┘

The supervisor takes no webhooks and answers no probes itself: a probe goes to whichever worker got its connection, is
passed on over the `wire`, and answered for all of them (`answers`). `process` is a worker as the supervisor sees it,
`member` the worker's own side. A worker whose supervisor is gone drains and ends. Open `supervisor` next.
"""
