"""The OpenAPI document that ingest serves is true: what it describes is answered as it says, whatever is sent."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from queue import Queue
from typing import Any

import jsonschema
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from pipeline.ingest.app import create_app
from pipeline.ingest.openapi import document
from pipeline.settings import Settings
from tests.http.doors import Door, in_a_thread

LIVE = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
PATHS = ("/webhooks/dodo", "/shop/webhooks/dodo")
CHECKS = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]

schema = schemathesis.openapi.from_dict(document(PATHS[:1]))


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """An ingest behind its real server, not connected: what would be stored, and `/ready`, are 503."""
    doors: Queue[Door] = Queue()
    stops: Queue[Callable[[], object]] = Queue()
    thread = threading.Thread(target=in_a_thread, args=("ingest", stops.put, doors.put))
    thread.start()
    stop = stops.get()
    yield f"http://127.0.0.1:{doors.get().port}"
    stop()
    thread.join()


@schema.parametrize()
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_answer_is_one_of_the_document(url: str, case: Any) -> None:
    """Requests out of the document, right and wrong ones: no 5xx but 503, and each answer is described there."""
    response = case.call(base_url=url)
    assert response.status_code < 500 or response.status_code == 503
    case.validate_response(response, checks=CHECKS, excluded_checks=[not_a_server_error])


def test_it_is_an_openapi_document() -> None:
    """Each operation has an id of its own and describes its answers; each path of the application is in it."""
    described = document(PATHS)
    assert described == json.loads(json.dumps(described))
    operations = [operation for methods in described["paths"].values() for operation in methods.values()]
    assert len({operation["operationId"] for operation in operations}) == len(operations)
    routes: Any = create_app(Settings.load(dodo_webhook_secrets=LIVE, webhook_paths=",".join(PATHS))).routes
    assert {route.path for route in routes} == set(described["paths"])
    for operation in operations:
        for answer in operation["responses"].values():
            for content in answer["content"].values():
                jsonschema.Draft202012Validator.check_schema(content["schema"])


@pytest.mark.parametrize("status", ["200", "400", "401", "408", "413", "431", "503"])
def test_the_webhook_path_tells_all_its_answers(status: str) -> None:
    """A gateway that is generated from it lets each of them through."""
    for path in PATHS:
        assert status in document(PATHS)["paths"][path]["post"]["responses"]
