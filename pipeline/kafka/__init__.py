"""How records move: everything that speaks Kafka's protocol, for the stages and for the commands.

`worker` is a Faust app whose consumer delivers whole chunks, `producer` sends, `cluster` asks and changes what the
brokers have, `local` is a broker for development and tests. Beside them lies what all of them use: records as they
are read (`records`, `fetched`, `unpacking`, `wire`), how the brokers are reached (`security`, `reach`, `reconnect`),
readers outside of any group (`readers`), and what is reported to observers (`events`).

Promises: an offset is committed only after its record was acknowledged, as a contiguous prefix of its partition, under
the group's present generation; what is sent is durable before it counts as sent, in order and without repeats;
partitions are given away only when what is in flight has ended; a worker that is no member any more sends nothing;
bytes that cannot be decoded stop nobody.

Rooms above may have Kafka clients of their own for a purpose of theirs (ingest's producer, the reader of the customers'
topic), with the options that `security` and `readers` give. Knows nothing of Dodo, Customer.io or the stages. Open
`worker` next.
"""
