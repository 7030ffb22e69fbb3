"""A consumer-group worker: a Faust app whose consumer delivers one `RecordBatch` a partition and poll.

`app` is the Faust app with our transport (`transport`, `consumer_thread`), which transform and sink are built from;
`options` are Faust's settings, `lifespan` starts and stops what belongs to it, `process` runs it as a process.
`batches`, `positions`, `watermarks` and `commits` track how far each partition is done and commit that prefix;
`done_ahead` and `inheritance` hand on what is done beyond it. `membership`, `static_member` and `handover` keep
generations apart. `topic_watch`, `topic_absence` and `log_bounds` notice what becomes of the topics. Open `app` next.
"""
