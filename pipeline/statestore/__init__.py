"""A state store for each partition of a worker: key-value pairs on the local disk, backed by a changelog topic.

As in Kafka Streams: every change goes to a compacted changelog topic, which is the truth; the local store is a copy
that may be lost at any time and is restored from the topic before the first record is processed.

`store` is the key-value interface, and what was put is read back at once; `transaction` keeps a chunk's uncommitted
writes in memory over the store; `lmdb_store` is the copy on the disk, in a `directory` of its own (locked, with a
clean-shutdown marker), together with the `checkpoint`: the changelog offset up to which it is current. `restore` brings
stores up to the end of the `changelog`, `partitions` has those of the partitions that are assigned to this worker, and
`cleanup` rewrites and removes files. Open `store` next.
"""

from __future__ import annotations
