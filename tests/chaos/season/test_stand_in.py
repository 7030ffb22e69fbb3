"""Customer.io's stand-in: its log has every operation as it was decided on, and its key can be rotated."""

from __future__ import annotations

import asyncio
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx

from pipeline.kafka.local.ports import free_port
from tests.asking import local_client
from tests.chaos.replicas import SandboxView
from tests.chaos.season.stand_in import read

WITHIN_S = 60.0


def event(number: int, person: str = "cus_1", name: str = "payment_completed") -> dict[str, Any]:
    """An event of a person."""
    return {
        "type": "person",
        "action": "event",
        "identifiers": {"id": person},
        "name": name,
        "id": f"01ARZ3NDEKTSV4RRFFQ69G5F{number:02}",
        "attributes": {"webhook_id": f"msg_{number}"},
    }


IDENTIFY = {"type": "person", "action": "identify", "identifiers": {"id": "cus_1"}, "attributes": {"plan": "a"}}


async def answer(url: str, key: str, *operations: dict[str, Any]) -> int:
    """The status of a batch, once somebody listens."""
    until = time.monotonic() + WITHIN_S
    async with local_client(url, auth=("site", key)) as http:
        while True:
            try:
                return (await http.post("/api/v2/batch", json={"batch": operations})).status_code
            except httpx.TransportError:
                assert time.monotonic() < until
                await asyncio.sleep(0.05)


async def test_every_operation_is_logged_and_a_key_can_be_rotated(tmp_path: Path) -> None:
    """What was taken, taken again and refused on purpose, in that order; what was not processed is not there."""
    key, log, port = tmp_path / "key", tmp_path / "log", free_port()
    old, new = secrets.token_hex(8), secrets.token_hex(8)
    key.write_text(old)
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "tests.chaos.season.stand_in", str(port), "site", str(key), str(log)]
    with subprocess.Popen(command) as process:  # noqa: ASYNC220 - returns at once
        try:
            began_s = time.time()
            assert await answer(url, old, IDENTIFY, event(1)) == 200
            async with SandboxView(url) as view:
                refusal = {"match": {"name": "refunded"}, "refuse_items": "matched"}
                await view.script([{"match": {"person": "cus_9"}, "status": 503}, refusal])
                assert await answer(url, old, event(2, person="cus_9")) == 503
                assert await answer(url, old, event(1), event(3, name="refunded")) == 207
                assert [step["spent"] for step in await view.steps()] == [True, True]
            key.write_text(new)
            process.send_signal(signal.SIGUSR1)
            async with asyncio.timeout(WITHIN_S):
                while await answer(url, old, IDENTIFY) != 401:  # noqa: ASYNC110 - a signal is heard when it is
                    await asyncio.sleep(0.02)
            assert await answer(url, new, event(4)) == 200
        finally:
            process.terminate()
    lines = list(read(log))
    events = [(taken.ulid[-2:], taken.accepted, taken.person, taken.webhook_id) for taken, _ in lines if taken.ulid]
    assert events == [
        ("01", True, "cus_1", "msg_1"),
        ("01", True, "cus_1", "msg_1"),
        ("03", False, "cus_1", "msg_3"),
        ("04", True, "cus_1", "msg_4"),
    ]
    assert [operation for taken, operation in lines if not taken.accepted] == [event(3, name="refunded")]
    assert (lines[0][0].ulid, lines[0][0].item, lines[1][0].item) == ("", 0, 1)
    assert all(began_s <= taken.at_s <= time.time() for taken, _ in lines)
