"""The status page at `/` of a probe port: what a person sees of the whole flow, without asking anything else.

Promises: it is read-only and self-contained; figures are computed when somebody looks, at most once a second, and cost
the flow nothing while nobody does; only the addresses of `PIPELINE_PEERS` are ever asked, within bounds of time and
size; what comes from outside is shown as text, masked, and never as markup. `document` is what a process says of
itself, `picture` what is made of several of them, `assets/` the page that draws it. Open `document` next.
"""

from __future__ import annotations
