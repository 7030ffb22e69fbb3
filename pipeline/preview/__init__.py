"""What a candidate would change about what is sent, on webhooks that came: before it is live.

Promises: no group is joined, nothing is committed, nothing is written anywhere, and nobody is asked but the brokers;
memory is bounded however much is read; samples show nothing that belongs to a person. `spans` says what is read,
`worlds` decides each record twice, `report` counts, `document` is its form. Open `preview` next.
"""
