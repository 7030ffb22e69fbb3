"""The routes of the page: the page that a browser loads once, the data that it polls, and the document for peers."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import Final

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from pipeline.watch.page.document import STAGE_PATH, StageDocument
from pipeline.watch.page.peers import Peers
from pipeline.watch.page.picture import picture

ASSETS: Final = files("pipeline.watch.page") / "assets"
STYLE: Final = (ASSETS / "page.css").read_text(encoding="utf-8")
SCRIPT: Final = (ASSETS / "page.js").read_text(encoding="utf-8")
PAGE: Final = (
    (ASSETS / "page.html")
    .read_text(encoding="utf-8")
    .replace("<style></style>", f"<style>{STYLE}</style>")
    .replace("<script></script>", f"<script>{SCRIPT}</script>")
)


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


HEADERS: Final = {
    "content-security-policy": f"default-src 'none'; script-src {_digest(SCRIPT)}; style-src {_digest(STYLE)}; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
"""Only the page's own script and style are allowed, and no other page may embed this one or read from it."""


class Page:
    """The status page of this process.

    Args:
        document: what this process reports of itself.
        peers: the other stages; none for a page that shows this one alone.
    """

    def __init__(self, document: Callable[[], Awaitable[StageDocument]], peers: Peers) -> None:
        self._document = document
        self._peers = peers

    def routes(self) -> list[Route]:
        """`/`, `/page.json` and `/stage.json`, to be mounted beside the probes."""
        return [
            Route("/", self._page, methods=["GET"]),
            Route("/page.json", self._picture, methods=["GET"]),
            Route(STAGE_PATH, self._stage, methods=["GET"]),
        ]

    async def _page(self, _request: Request) -> Response:
        return HTMLResponse(PAGE, headers=HEADERS)

    async def _picture(self, _request: Request) -> Response:
        heard = await self._peers.heard()
        return JSONResponse(picture(await self._document(), heard), headers=HEADERS)

    async def _stage(self, _request: Request) -> Response:
        content = (await self._document()).model_dump_json()
        return Response(content, media_type="application/json", headers=HEADERS)
