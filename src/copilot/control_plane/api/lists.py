"""Pages, order and filters of lists, as ``flyteidl2.common.ListRequest`` asks for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final, TypeVarTuple

from flyteidl2.common.list_pb2 import Filter, ListRequest, Sort
from sqlalchemy import ColumnElement, Select, UnaryExpression, and_, not_
from sqlalchemy.orm import InstrumentedAttribute

from copilot.control_plane.errors import InvalidRequest
from copilot.control_plane.lifecycle.phases import Phase

Row = TypeVarTuple("Row")
Column = InstrumentedAttribute[Any]
LabelFilter = Callable[[str, str | None], ColumnElement[bool]]

DEFAULT_LIMIT: Final = 100
_TIMES: Final = frozenset({"created_at", "updated_at", "deployed_at", "started_at", "ended_at", "start_time", "end_time"})
_PHASES: Final = {phase.name: int(phase) for phase in Phase}


class Page:
    """One page of a list.

    Args:
        request: what was asked; an empty one is fine.
        columns: what may be filtered and sorted by, under the names clients use.
        max_page: the largest page.
        labels: makes the condition of a ``labels.<key>`` filter, where there are labels.
    """

    def __init__(
        self, request: ListRequest, columns: Mapping[str, Column], *, max_page: int, labels: LabelFilter | None = None
    ) -> None:
        self._columns = columns
        self._labels = labels
        if request.limit > max_page:
            raise InvalidRequest(f"invalid limit: {request.limit} (exceeds maximum of {max_page})")
        self.limit = request.limit or min(DEFAULT_LIMIT, max_page)
        self.offset = offset_of(request.token)
        if request.raw_filters:
            raise InvalidRequest("raw_filters are not taken", hint="Use filters.")
        self._filters = [self._condition(each) for each in request.filters]
        sorts = list(request.sort_by_fields) or (
            [request.sort_by] if request.HasField("sort_by") and request.sort_by.key else []
        )
        self._order = [self._sorted(each) for each in sorts] or [columns["created_at"].desc()]

    def filtered(self, query: Select[*Row]) -> Select[*Row]:
        """``query`` with the filters alone, for counting."""
        return query.where(*self._filters)

    def apply(self, query: Select[*Row], tie: Column) -> Select[*Row]:
        """``query`` filtered, in order and cut to this page; one row more than fits says that there is more."""
        return self.filtered(query).order_by(*self._order, tie.desc()).offset(self.offset).limit(self.limit + 1)

    def token(self, fetched: int) -> str:
        """The token of the next page, empty at the end."""
        return str(self.offset + self.limit) if fetched > self.limit else ""

    def _sorted(self, sort: Sort) -> UnaryExpression[Any]:
        column = self._columns.get(sort.key)
        if column is None:
            raise InvalidRequest(f"invalid sort field: {sort.key}", hint=f"One of {', '.join(sorted(self._columns))}.")
        return column.asc() if sort.direction == Sort.ASCENDING else column.desc()

    def _condition(self, each: Filter) -> ColumnElement[bool]:
        if each.field.startswith("labels.") and self._labels is not None:
            return self._label(each)
        column = self._columns.get(each.field)
        if column is None:
            raise InvalidRequest(f"invalid filter field: {each.field}", hint=f"One of {', '.join(sorted(self._columns))}.")
        values = [_value(each.field, text) for text in each.values]
        if not values:
            raise InvalidRequest(f"the filter on {each.field} has no value")
        make = _FUNCTIONS.get(each.function)
        if make is None or (each.function in _OF_TEXT and not all(isinstance(value, str) for value in values)):
            raise InvalidRequest(f"the filter function {Filter.Function.Name(each.function)} does not apply to {each.field}")
        return make(column, values)

    def _label(self, each: Filter) -> ColumnElement[bool]:
        key = each.field.removeprefix("labels.")
        if self._labels is None or not key:
            raise InvalidRequest(f"invalid filter field: {each.field}")
        if each.function in (Filter.EXISTS, Filter.NOT_EXISTS):
            there = self._labels(key, None)
            return there if each.function == Filter.EXISTS else not_(there)
        if each.function not in (Filter.EQUAL, Filter.NOT_EQUAL) or len(each.values) != 1:
            raise InvalidRequest(f"the filter on {each.field} must be EQUAL, NOT_EQUAL, EXISTS or NOT_EXISTS")
        same = self._labels(key, each.values[0])
        return same if each.function == Filter.EQUAL else not_(same)


def offset_of(token: str) -> int:
    """How many rows come before the page with this token."""
    if not token:
        return 0
    if not token.isascii() or not token.isdigit() or len(token) > len("1000000000"):
        raise InvalidRequest(f'invalid token: "{token[:40]}"', hint="Use the token of the answer before, or none.")
    return int(token)


def _value(field: str, text: str) -> object:
    if field in _TIMES:
        try:
            return datetime.fromisoformat(text).timestamp()
        except ValueError as cause:
            raise InvalidRequest(f"the filter on {field} needs an RFC 3339 time, not {text[:40]!r}") from cause
    if field == "phase":
        name = text.upper().removeprefix("ACTION_PHASE_")
        if name in _PHASES:
            return _PHASES[name]
        if text.isascii() and text.isdigit() and int(text) in _PHASES.values():
            return int(text)
        raise InvalidRequest(
            f"the filter on phase does not know {text[:40]!r}", hint=f"One of {', '.join(_PHASES)}, or its number."
        )
    return text


def _like(text: object) -> str:
    return str(text).replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


_OF_TEXT: Final = frozenset({Filter.CONTAINS, Filter.CONTAINS_CASE_INSENSITIVE, Filter.ENDS_WITH, Filter.NOT_ENDS_WITH})
_FUNCTIONS: Final[Mapping[int, Callable[[Column, list[Any]], ColumnElement[bool]]]] = {
    Filter.EQUAL: lambda column, values: column.in_(values),
    Filter.NOT_EQUAL: lambda column, values: column.not_in(values),
    Filter.GREATER_THAN: lambda column, values: and_(*(column > value for value in values)),
    Filter.GREATER_THAN_OR_EQUAL: lambda column, values: and_(*(column >= value for value in values)),
    Filter.LESS_THAN: lambda column, values: and_(*(column < value for value in values)),
    Filter.LESS_THAN_OR_EQUAL: lambda column, values: and_(*(column <= value for value in values)),
    Filter.CONTAINS: lambda column, values: and_(*(column.like(f"%{_like(value)}%", escape="\\") for value in values)),
    Filter.CONTAINS_CASE_INSENSITIVE: lambda column, values: and_(
        *(column.ilike(f"%{_like(value)}%", escape="\\") for value in values)
    ),
    Filter.VALUE_IN: lambda column, values: column.in_(values),
    Filter.VALUE_NOT_IN: lambda column, values: column.not_in(values),
    Filter.ENDS_WITH: lambda column, values: and_(*(column.like(f"%{_like(value)}", escape="\\") for value in values)),
    Filter.NOT_ENDS_WITH: lambda column, values: and_(*(column.not_like(f"%{_like(value)}", escape="\\") for value in values)),
}
