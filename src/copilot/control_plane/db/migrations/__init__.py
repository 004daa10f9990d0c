"""The migrations of the database, in alembic's layout."""
