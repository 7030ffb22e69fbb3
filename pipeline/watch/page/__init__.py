"""The status page at `/` of a probe port: shows the whole flow to a person, without any other system.

Promises: it is read-only and self-contained; figures are computed only when somebody looks, at most once a second; only
the addresses of `PIPELINE_PEERS` get requests, within bounds of time and size; what comes from outside is shown as
text, masked, and never as markup. `document` is what a process reports about itself, `picture` combines several of
them, `assets/` is the page that draws it. Open `document` next.
"""

from __future__ import annotations
