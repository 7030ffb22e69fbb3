"""How records move: everything that speaks Kafka's protocol, for the stages and for the commands.

Promises: an offset is committed only after its record was acknowledged, as a contiguous prefix of its partition, under
the group's present generation (`batches`, `watermarks`, `commits`); what is sent is durable before it counts as sent,
in order and without repeats (`producer`, `outgoing`); partitions are given away only when what is in flight has ended
(`handover`); a worker that is no member any more sends nothing (`membership`, `write_gate`); bytes that cannot be
decoded stop nobody (`unpacking`, `wire`).

`app` is the Faust app with our transport (`transport`, `consumer_thread`) that transform and sink are built from,
`worker` runs it as a process. Beside them: the cluster (`admin`, `topics`, `rights`, `lag`), how it is reached
(`security`, `reach`, `reconnect`), and a local broker for development and tests (`local`). Rooms above may have Kafka
clients of their own for a purpose of theirs (ingest's producer, the reader of the customers' topic), with the options
that `security` and `readers` give. Knows nothing of Dodo, Customer.io or the stages. Open `app` next.
"""

from __future__ import annotations
