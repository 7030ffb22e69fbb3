"""What Customer.io's Track API v2 takes, and what its answers mean.

`operations` builds one entity operation as the exact bytes that are sent; `attributes` keeps its attributes inside the
published limits (`limits`); `batch` joins operations to a request body; `client` sends a body once and reports whether
it may have arrived; `interpreter` turns an answer into a decision, as a pure function. `sandbox/` is a strict stand-in
of the API to develop against. Promises: an operation that is built here is one that Customer.io documents as valid, and
no answer, however odd, is taken as permission to drop data. Open `operations` next.
"""

from __future__ import annotations
