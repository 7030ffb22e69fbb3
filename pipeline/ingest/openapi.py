"""Describes ingest's port as an OpenAPI 3.1 document: for gateways, importers and fuzzers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from pipeline import __version__
from pipeline.ingest.records import MAX_BODY_BYTES

OPENAPI_PATH: Final = "/openapi.json"

ERROR: Final = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}
RETRY_AFTER: Final = {"description": "Seconds.", "schema": {"type": "integer", "minimum": 1}}


def document(paths: Sequence[str]) -> dict[str, Any]:
    """The document of an ingest that takes webhooks at `paths`."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "dodo-customerio ingest",
            "version": __version__,
            "description": "Takes Dodo Payments' webhooks (Standard Webhooks) and stores them in Kafka.",
        },
        "paths": {
            **{path: {"post": _webhook(number)} for number, path in enumerate(paths)},
            "/live": {"get": _get("live", "Whether this process is worth keeping.", _verdicts("live"))},
            "/ready": {"get": _get("ready", "Whether webhooks can be stored now.", _verdicts("ready"))},
            "/status": {"get": _get("status", "Both, with details.", {"200": _json("Details.", {"type": "object"})})},
            "/metrics": {"get": _get("metrics", "Prometheus.", {"200": _metrics()})},
            OPENAPI_PATH: {"get": _get("openapi", "This document.", {"200": _json("It.", {"type": "object"})})},
        },
    }


def _webhook(number: int) -> dict[str, Any]:
    refusals = {
        "400": "The body did not arrive whole, or what was sent is no HTTP.",
        "401": "A header is missing or malformed, no signature fits, or the time is out of tolerance.",
        "408": "The body did not arrive in time.",
        "413": f"The body is larger than {MAX_BODY_BYTES} bytes.",
        "431": "The head is too large.",
    }
    return {
        "operationId": "takeWebhook" if number == 0 else f"takeWebhook{number + 1}",
        "summary": "Store a webhook; 200 once every in-sync replica has it.",
        "parameters": [
            _header("webhook-id", "The delivery's id, the same in each attempt."),
            _header("webhook-timestamp", "Seconds since the epoch, of this attempt."),
            _header("webhook-signature", "v1,<base64> of HMAC-SHA256 over `id.timestamp.body`; a list, one may fit."),
        ],
        "requestBody": {
            "required": True,
            "description": "The event, byte for byte as it was signed.",
            "content": {"application/json": {"schema": {"type": "object"}}},
        },
        "responses": {
            "200": _json("Stored.", {"type": "object", "maxProperties": 0}),
            **{status: _json(text, ERROR) for status, text in refusals.items()},
            "503": {
                **_json("Kafka did not confirm, or there is too much at once: send it again.", ERROR),
                "headers": {"retry-after": RETRY_AFTER},
            },
        },
    }


def _header(name: str, text: str) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": True, "description": text, "schema": {"type": "string"}}


def _get(name: str, text: str, responses: dict[str, Any]) -> dict[str, Any]:
    return {"operationId": name, "summary": text, "responses": responses}


def _json(text: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": text, "content": {"application/json": {"schema": schema}}}


def _verdicts(name: str) -> dict[str, Any]:
    schema = {
        "type": "object",
        "required": [name, "reason"],
        "properties": {name: {"type": "boolean"}, "reason": {"type": "string"}},
    }
    return {"200": _json("Yes.", schema), "503": _json("No, and why.", schema)}


def _metrics() -> dict[str, Any]:
    text = {"schema": {"type": "string"}}
    return {
        "description": "The exposition, in the form that the request's Accept asks for.",
        "content": {"text/plain": text, "application/openmetrics-text": text},
    }
