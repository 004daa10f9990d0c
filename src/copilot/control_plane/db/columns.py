"""Columns of text. PostgreSQL has no place for the character NUL, and it comes from anywhere: a client, a task, a kubelet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy
from sqlalchemy import TypeDecorator

if TYPE_CHECKING:
    from sqlalchemy.engine.interfaces import Dialect
    from sqlalchemy.types import TypeEngine


class Text(TypeDecorator[str]):
    """Any number of characters; a NUL becomes the character that stands for what cannot be shown."""

    impl: TypeEngine[Any] | type[TypeEngine[Any]] = sqlalchemy.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """What is written, or looked for."""
        del dialect
        return value and value.replace("\0", "\ufffd")


class String(Text):
    """At most so many characters."""

    impl = sqlalchemy.String
    cache_ok = True
