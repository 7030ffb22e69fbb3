"""Compares what a candidate (new rules, recipes or code) would send with what is sent now, on webhooks that came.

Promises: no group is joined, nothing is committed, nothing is written anywhere, and only the brokers are contacted;
memory is bounded however much is read; samples show no personal data. `spans` chooses what is read, `worlds` decides
each record twice, `report` counts the differences, `document` is their JSON form. Open `preview` next.
"""
