"""Walks a collection by creation time, in windows, and can continue where it stopped.

Two traps of the API shape the walk. Page numbers are capped ("to bound OFFSET-based deep pagination", reference of
`GET /payments`), so a long range is cut into windows, and a window that holds too much into smaller ones. And it is not
documented whether the ends of a range are part of it, so a little more is requested, and objects outside of the window
are left out here. Objects never leave a window, since the time of creation does not change; one that appears late
shifts others to later pages, where they are seen twice, never missed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol

from pipeline.dodo.api.client import Collection
from pipeline.errors import RefusedRequestError, UnexpectedAnswerError

ID_FIELDS: Final[dict[Collection, str]] = {
    "payments": "payment_id",
    "refunds": "refund_id",
    "subscriptions": "subscription_id",
    "customers": "customer_id",
}

FIRST_SPAN: Final = timedelta(days=1)
SMALLEST_SPAN: Final = timedelta(seconds=1)

MAX_PAGES: Final = 50
"""5,000 objects: a window with more is cut in two. The deeper a page, the more it costs the API."""

FEW_PAGES: Final = 5
"""A window with fewer pages makes the next one twice as long."""

MARGIN: Final = timedelta(seconds=1)
"""Requested beyond both ends of a window."""

FAR: Final = timedelta(days=1)
"""If no object of a page is nearer to its window than this, the API ignores the range: each window would read
everything anew."""


@dataclass(frozen=True, slots=True)
class Position:
    """Everything before `since` is done, and the pages below `page` of the window from there to `until`."""

    since: datetime
    until: datetime
    page: int = 0


@dataclass(frozen=True, slots=True)
class Page:
    """Objects of one page, and the position after them."""

    items: list[dict[str, Any]]
    then: Position


class Pages(Protocol):
    """The source of pages (`client.DodoApi`)."""

    async def page(
        self, collection: Collection, *, since: datetime, until: datetime, number: int
    ) -> list[dict[str, Any]]:
        """One page of the objects created in the range, empty after the last."""


def begin(since: datetime, until: datetime) -> Position:
    """The position at which a walk over [since, until) begins."""
    return Position(since, min(until, since + FIRST_SPAN))


async def walk(api: Pages, collection: Collection, start: Position, until: datetime) -> AsyncIterator[Page]:
    """The pages of everything that was created from `start` on and before `until`, in windows of time.

    Raises:
        UnexpectedAnswerError: the API gives the same page again and again, or ignores the range.
        PipelineError: as `DodoApi.page`.
    """
    at = start
    while at.since < until:
        seen: set[Any] = set()
        repeated = False
        while True:
            items = await _page(api, collection, at)
            if items is None or (at.page >= MAX_PAGES and items and _can_be_cut(at)):
                # Objects of it that are done come once more; they are the same.
                at = Position(at.since, at.since + (at.until - at.since) / 2)
                break
            if not items:
                at = _next_window(at, until)
                yield Page([], at)
                break
            if not any(_lies_in(item, _wide(at)) for item in items):
                raise UnexpectedAnswerError(
                    f"Dodo's API answers /{collection} with objects that were not created in the range asked for"
                )
            ids = {item.get(ID_FIELDS[collection]) for item in items}
            if not ids <= seen:
                repeated = False
            else:
                # The reference counts pages from 0, the vendor's SDK from 1: both 0 and 1 may be the first page. If it
                # comes a third time, the API ignores the numbers.
                if repeated:
                    raise UnexpectedAnswerError(f"Dodo's API answers each page of /{collection} with the same objects")
                repeated = True
            fresh = [item for item in items if item.get(ID_FIELDS[collection]) not in seen and _lies_in(item, at)]
            seen |= ids
            at = Position(at.since, at.until, at.page + 1)
            yield Page(fresh, at)


async def _page(api: Pages, collection: Collection, at: Position) -> list[dict[str, Any]] | None:
    """A page of a window, None when it is too deep for the API and the window can be cut."""
    try:
        return await api.page(collection, since=at.since - MARGIN, until=at.until + MARGIN, number=at.page)
    except RefusedRequestError:
        if at.page and _can_be_cut(at):
            return None
        raise


def _wide(at: Position) -> Position:
    return Position(at.since - FAR, at.until + FAR)


def _can_be_cut(at: Position) -> bool:
    return at.until - at.since > SMALLEST_SPAN


def _next_window(at: Position, until: datetime) -> Position:
    span = at.until - at.since
    if at.page < FEW_PAGES:
        span *= 2
    return Position(at.until, min(until, at.until + max(span, SMALLEST_SPAN)))


def _lies_in(item: dict[str, Any], at: Position) -> bool:
    """Whether it was created in the window; an object without a time is taken, rather twice than never."""
    created_at = item.get("created_at")
    try:
        moment = datetime.fromisoformat(created_at) if isinstance(created_at, str) else None
    except ValueError:
        moment = None
    if moment is None:
        return True
    return at.since <= (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) < at.until
