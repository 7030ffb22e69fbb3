"""The HTTP/1.1 server of every port: webhooks, probes, the sandbox.

Promises: whatever bytes arrive, a connection holds a bounded amount of memory for a bounded time, on every path; when
there are more connections than a process should have, those that have asked for nothing yet go first, so that a good
client and a probe get in; what is refused is answered where HTTP has an answer for it, counted, and told in the log.
Applications are ASGI, with one simplification: a body arrives whole, or `receive` raises why it did not (`body`).

`limits` has every bound with its reason, `answers` what goes over the wire; docs/adr/0002-http-server.md says why the
server is our own around llhttp. Open `connection` next.
"""
