"""Alembic's entry: runs the migrations on the connection it is handed, one transaction each."""

from __future__ import annotations

from alembic import context

from copilot.control_plane.db.models import Base

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=Base.metadata, render_as_batch=connection.dialect.name == "sqlite")
with context.begin_transaction():
    context.run_migrations()
