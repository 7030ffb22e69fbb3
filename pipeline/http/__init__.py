"""The HTTP/1.1 server of every port: webhooks, probes, the sandbox.

Promises: whatever bytes arrive, a connection holds a bounded amount of memory for a bounded time, on every path; when
there are more connections than a process should have, those that have never sent a whole request are closed first, so
that a good client and a probe get in; what is refused is answered if HTTP has an answer for it, counted, and logged.
Applications are ASGI, with one simplification: a body arrives whole, or `receive` raises why it did not (`body`).

`limits` has every bound with its reason, `answers` the bytes of answers, docs/adr/0002-http-server.md the reasons for
a server of our own around llhttp. Open `connection` next.
"""
