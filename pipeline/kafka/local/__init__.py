"""A local Apache Kafka: the real broker, for developers, the demo and the tests.

`broker` starts and stops it: jars from `distribution`, `config` and command lines by `node`, `ports`, a `process` known
by its pid, and classes archived beside the jars (`class_archive`). Open `broker` next.
"""
