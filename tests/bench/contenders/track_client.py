"""The sink's HTTP client alone: full requests to a server, as many at once as there are lanes; prints what it took."""

from __future__ import annotations

import asyncio
import json
import sys
import time

import uvloop

from pipeline.customerio.batch import join
from pipeline.customerio.client import TrackClient
from pipeline.customerio.limits import BODY_MAX_BYTES
from tests.bench.figures import per
from tests.bench.stage import operation

LANES = 8


async def main(url: str, requests: int) -> None:
    """Send so many requests of the largest size."""
    value = operation(0)[1]
    operations = (BODY_MAX_BYTES - 100) // (len(value) + 1)
    body = join([value] * operations)
    async with TrackClient(url, "site", "key", lanes=LANES) as client:

        async def lane(count: int) -> None:
            for _ in range(count):
                answer = await client.send_batch(body)
                assert answer.status == 200, answer

        await lane(1)
        began, cpu_s = time.perf_counter(), time.process_time()
        await asyncio.gather(*(lane(requests // LANES or 1) for _ in range(LANES)))
        seconds, cpu_s = time.perf_counter() - began, time.process_time() - cpu_s
    sent = LANES * (requests // LANES or 1)
    found = {"per_second": per(sent, seconds), "cpu_us": per(1e6 * cpu_s, sent), "operations": operations}
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2])))
