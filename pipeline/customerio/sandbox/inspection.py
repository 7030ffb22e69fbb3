"""`/__sandbox/…`: shows the sandbox's state, sets faults, and resets it.

Not part of Customer.io's API: no credentials, faults, rate limit or latency here.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any, Final

import orjson
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import Route

from pipeline.customerio.sandbox.faults import parse_steps
from pipeline.customerio.sandbox.nesting import MAX_DEPTH, is_too_deep
from pipeline.customerio.sandbox.state import Sandbox
from pipeline.errors import InputError

PREFIX: Final = "/__sandbox"
LIMIT: Final = 100
LIMIT_MAX: Final = 10_000

MAX_DIGITS: Final = 18
"""Of a number of 64 bits."""


class Inspection:
    """Endpoints that read and reset one sandbox."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    def routes(self) -> list[Route]:
        """Every path, for a Starlette application."""
        table: tuple[tuple[str, str, Callable[[HttpRequest], Any]], ...] = (
            ("GET", "", self.index),
            ("GET", "/stats", self.stats),
            ("GET", "/people", self.people),
            ("GET", "/people/{id:path}", self.person),
            ("GET", "/events", self.events),
            ("GET", "/objects", self.objects),
            ("GET", "/requests", self.requests),
            ("GET", "/requests/{number}/body", self.body),
            ("GET", "/faults", self.faults),
            ("POST", "/faults", self.add_faults),
            ("DELETE", "/faults", self.clear_faults),
            ("POST", "/reset", self.reset),
        )
        return [Route(PREFIX + path, endpoint, methods=[method]) for method, path, endpoint in table]

    async def index(self, _request: HttpRequest) -> Response:
        """The list of these paths."""
        return _json({"see": [f"{route.methods and min(route.methods)} {route.path}" for route in self.routes()]})

    async def stats(self, _request: HttpRequest) -> Response:
        """Counts of requests, operations, people and events."""
        return _json(self._sandbox.stats())

    async def people(self, request: HttpRequest) -> Response:
        """People in the order of creation: `?id=`, `?email=`, else a page of `?limit=` `after` a `cio_id`."""
        people = self._sandbox.workspace.people
        query = request.query_params
        wanted = {kind: query[kind] for kind in ("id", "email", "phone", "cio_id") if kind in query}
        if wanted:
            person = people.find(wanted)
            return _json({"people": [] if person is None else [person.as_json()], "total": len(people)})
        after = query.get("after", "")
        limit = _limit(request)
        page = [person.as_json() for person in islice((p for p in people if p.cio_id > after), limit)]
        following = page[-1]["cio_id"] if len(page) == limit else None
        return _json({"people": page, "next": following, "total": len(people), "suppressed": people.suppressed()})

    async def person(self, request: HttpRequest) -> Response:
        """One person by id, e-mail address or `cio_id`."""
        wanted = request.path_params["id"]
        people = self._sandbox.workspace.people
        person = people.find({"id": wanted}) or people.find({"email": wanted}) or people.find({"cio_id": wanted})
        if person is None:
            return _json({"error": "no such person"}, 404)
        return _json(person.as_json())

    async def events(self, request: HttpRequest) -> Response:
        """First deliveries as they arrived: `?person=`, `?name=`, `?id=`, a page of `?limit=` `after` a sequence."""
        query = request.query_params
        person, name, event_id = query.get("person"), query.get("name"), query.get("id")
        after, limit, log = _number(request, "after", 0), _limit(request), self._sandbox.workspace.events
        found = (
            event
            for event in log
            if event.sequence > after
            and (person is None or event.person == person)
            and (name is None or event.name == name)
            and (event_id is None or event.id == event_id)
        )
        page = list(islice(found, limit))
        following = page[-1].sequence if len(page) == limit else None
        dropped = log.stored - len(log)
        return _json(
            {"events": [event.as_json() for event in page], "next": following, "total": log.stored, "dropped": dropped}
        )

    async def objects(self, _request: HttpRequest) -> Response:
        """Objects and their relationships."""
        return _json({"objects": self._sandbox.workspace.objects.as_json()})

    async def requests(self, request: HttpRequest) -> Response:
        """The last requests in the order of arrival: a page of `?limit=` `after` a number, `?status=`."""
        after, limit = _number(request, "after", 0), _limit(request)
        status = _number(request, "status", 0)
        log = self._sandbox.requests
        found = (line for line in log if line.number > after and status in {0, line.status})
        page = list(islice(found, limit))
        following = page[-1].number if len(page) == limit else None
        return _json({"requests": [line.as_json() for line in page], "next": following, "total": log.total})

    async def body(self, request: HttpRequest) -> Response:
        """The body of one request, byte for byte, while it is kept."""
        number = request.path_params["number"]
        known = self._sandbox.requests if is_number(number) else ()
        body = next((line.body for line in known if line.number == int(number)), None)
        if body is None:
            return _json({"error": "no such request, or its body is no longer kept"}, 404)
        return Response(body, media_type="application/octet-stream")

    async def faults(self, _request: HttpRequest) -> Response:
        """The fault script, with how often each step was taken."""
        return _json({"steps": self._sandbox.script.as_json()})

    async def add_faults(self, request: HttpRequest) -> Response:
        """Append steps, or replace them all with `?replace=true`."""
        try:
            body = await request.body()
            value = orjson.loads(body)
            if is_too_deep(body, value):
                return _json({"error": f"nested deeper than {MAX_DEPTH} levels"}, 400)
            steps = parse_steps(value)
        except orjson.JSONDecodeError as error:
            return _json({"error": f"malformed JSON: {error}"}, 400)
        except InputError as error:
            return _json({"error": str(error)}, 400)
        if request.query_params.get("replace") == "true":
            self._sandbox.script.clear()
        self._sandbox.script.add(steps)
        return await self.faults(request)

    async def clear_faults(self, request: HttpRequest) -> Response:
        """Remove every step."""
        self._sandbox.script.clear()
        return await self.faults(request)

    async def reset(self, request: HttpRequest) -> Response:
        """Forget people, events, requests and counts; the fault script too with `?faults=true`."""
        self._sandbox.reset()
        if request.query_params.get("faults") == "true":
            self._sandbox.script.clear()
        return _json(self._sandbox.stats())


def _json(value: Any, status: int = 200) -> Response:
    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS
    return Response(orjson.dumps(value, option=options), status, media_type="application/json")


def _limit(request: HttpRequest) -> int:
    return min(max(_number(request, "limit", LIMIT), 1), LIMIT_MAX)


def _number(request: HttpRequest, name: str, default: int) -> int:
    text = request.query_params.get(name, "")
    return int(text) if is_number(text) else default


def is_number(text: str) -> bool:
    """Whether it is the number of something here; Python makes none of thousands of digits, and raises."""
    return text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS
