"""The tables. SQLite and PostgreSQL alike: no type and no feature that only one of them has.

Times are seconds since the epoch as doubles (microseconds survive until the year 2255). Protocol messages are stored as
their bytes. Rows that move (actions, attempts) carry a ``version`` that every change increments: who read an older one
changes nothing. Their ``phase`` takes only what the tables of ``control_plane.phases`` allow: setting it is the one way to
write it.
"""

from __future__ import annotations

from typing import ClassVar

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, validates

from copilot.control_plane.db.columns import String, Text
from copilot.control_plane.lifecycle.phases import ACTION, ATTEMPT, Phase, check

_NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}
# SQLite numbers rows only in a column that is called INTEGER.
_ID = BigInteger().with_variant(Integer, "sqlite")


class Base(DeclarativeBase):
    """All tables, with names for their constraints so that migrations can speak of them."""

    metadata: ClassVar[MetaData] = MetaData(naming_convention=_NAMES)


class Project(Base):
    """A project; its domains are the server's."""

    __tablename__ = "projects"

    id: Mapped[str] = mapped_column(String(63), primary_key=True)
    name: Mapped[str] = mapped_column(String(256), default="")
    description: Mapped[str] = mapped_column(Text, default="")
    labels: Mapped[dict[str, str]] = mapped_column(JSON, default=dict)
    state: Mapped[int] = mapped_column(Integer, default=0)
    created_at: Mapped[float] = mapped_column(Double)


class TaskSpecBlob(Base):
    """A ``task.TaskSpec``, stored once however many actions run it."""

    __tablename__ = "task_specs"

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    spec: Mapped[bytes] = mapped_column(LargeBinary)


class Task(Base):
    """One deployed version of a task."""

    __tablename__ = "tasks"
    __table_args__ = (UniqueConstraint("project", "domain", "name", "version"),)

    id: Mapped[int] = mapped_column(_ID, primary_key=True)
    project: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    domain: Mapped[str] = mapped_column(String(63))
    name: Mapped[str] = mapped_column(String(255))
    version: Mapped[str] = mapped_column(String(255))
    spec_digest: Mapped[str] = mapped_column(ForeignKey("task_specs.digest"))
    deployed_at: Mapped[float] = mapped_column(Double)
    deployed_by: Mapped[str] = mapped_column(String(255), default="")


class Run(Base):
    """A run: its identity, what was asked, and its root action ``a0``."""

    __tablename__ = "runs"
    __table_args__ = (UniqueConstraint("project", "domain", "name"), Index("ix_runs_created_at", "created_at"))

    id: Mapped[int] = mapped_column(_ID, primary_key=True)
    project: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    domain: Mapped[str] = mapped_column(String(63))
    name: Mapped[str] = mapped_column(String(63))
    request_digest: Mapped[str] = mapped_column(String(64))
    run_spec: Mapped[bytes] = mapped_column(LargeBinary)
    output_base: Mapped[str] = mapped_column(Text)
    source: Mapped[int] = mapped_column(Integer, default=0)
    max_action_concurrency: Mapped[int] = mapped_column(Integer, default=0)
    created_by: Mapped[str] = mapped_column(String(255), default="")
    created_at: Mapped[float] = mapped_column(Double)


class RunLabel(Base):
    """A label of a run, for filters."""

    __tablename__ = "run_labels"

    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    key: Mapped[str] = mapped_column(String(317), primary_key=True)
    value: Mapped[str] = mapped_column(String(255))


class Action(Base):
    """One node of a run: a task, a trace or a condition."""

    __tablename__ = "actions"
    __table_args__ = (
        UniqueConstraint("run_id", "name"),
        Index("ix_actions_run_parent", "run_id", "parent"),
        # What the scheduler looks for, and nothing else: it stays small however many runs there have been.
        Index(
            "ix_actions_waiting",
            "project",
            "id",
            sqlite_where=text("phase = 1 AND kind = 'task' AND live_attempt = 0"),
            postgresql_where=text("phase = 1 AND kind = 'task' AND live_attempt = 0"),
        ),
        Index(
            "ix_actions_in_flight",
            "project",
            sqlite_where=text("live_attempt > 0"),
            postgresql_where=text("live_attempt > 0"),
        ),
    )

    id: Mapped[int] = mapped_column(_ID, primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"))
    project: Mapped[str] = mapped_column(String(63))
    name: Mapped[str] = mapped_column(String(63))
    parent: Mapped[str] = mapped_column(String(63), default="")
    group_name: Mapped[str] = mapped_column(String(255), default="")
    kind: Mapped[str] = mapped_column(String(16), default="task")
    spec_digest: Mapped[str | None] = mapped_column(ForeignKey("task_specs.digest"))
    # The TraceAction or ConditionAction message of the two other kinds.
    detail: Mapped[bytes] = mapped_column(LargeBinary, default=b"")
    task_project: Mapped[str] = mapped_column(String(63), default="")
    task_domain: Mapped[str] = mapped_column(String(63), default="")
    task_name: Mapped[str] = mapped_column(String(255), default="")
    task_version: Mapped[str] = mapped_column(String(255), default="")
    task_type: Mapped[str] = mapped_column(String(63), default="")
    short_name: Mapped[str] = mapped_column(String(255), default="")
    environment: Mapped[str] = mapped_column(String(255), default="")
    input_uri: Mapped[str] = mapped_column(Text, default="")
    output_uri: Mapped[str] = mapped_column(Text, default="")
    phase: Mapped[int] = mapped_column(Integer, default=1)
    version: Mapped[int] = mapped_column(Integer, default=1)
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    live_attempt: Mapped[int] = mapped_column(Integer, default=0)
    max_user_failures: Mapped[int] = mapped_column(Integer, default=0)
    user_failures: Mapped[int] = mapped_column(Integer, default=0)
    system_failures: Mapped[int] = mapped_column(Integer, default=0)
    preemptions: Mapped[int] = mapped_column(Integer, default=0)
    queue_deadline: Mapped[float | None] = mapped_column(Double)
    deadline: Mapped[float | None] = mapped_column(Double)
    not_before: Mapped[float] = mapped_column(Double, default=0.0)
    error_code: Mapped[str] = mapped_column(String(255), default="")
    error_message: Mapped[str] = mapped_column(Text, default="")
    error_kind: Mapped[str] = mapped_column(String(16), default="")
    abort_reason: Mapped[str] = mapped_column(Text, default="")
    aborted_by: Mapped[str] = mapped_column(String(255), default="")
    signal: Mapped[bytes] = mapped_column(LargeBinary, default=b"")
    created_at: Mapped[float] = mapped_column(Double)
    updated_at: Mapped[float] = mapped_column(Double)
    started_at: Mapped[float | None] = mapped_column(Double)
    ended_at: Mapped[float | None] = mapped_column(Double)

    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012 - SQLAlchemy's own way to say it

    @validates("phase")
    def _legal(self, _column: str, after: int) -> int:
        if self.phase is not None and self.phase != after:
            check(ACTION, Phase(self.phase), Phase(after))
        return after


class Attempt(Base):
    """One pod's life for an action."""

    __tablename__ = "attempts"
    __table_args__ = (
        UniqueConstraint("action_id", "number"),
        # Exactly one attempt at a time: the database itself refuses a second.
        Index(
            "uq_attempts_live",
            "action_id",
            unique=True,
            sqlite_where=text("ended_at IS NULL"),
            postgresql_where=text("ended_at IS NULL"),
        ),
        Index("ix_attempts_pods", "lease_until", sqlite_where=text("pod_gone = 0"), postgresql_where=text("NOT pod_gone")),
        Index(
            "ix_attempts_token_hash",
            "token_hash",
            sqlite_where=text("token_hash <> ''"),
            postgresql_where=text("token_hash <> ''"),
        ),
    )

    id: Mapped[int] = mapped_column(_ID, primary_key=True)
    action_id: Mapped[int] = mapped_column(ForeignKey("actions.id", ondelete="CASCADE"))
    number: Mapped[int] = mapped_column(Integer)
    phase: Mapped[int] = mapped_column(Integer, default=1)
    version: Mapped[int] = mapped_column(Integer, default=1)
    pod_namespace: Mapped[str] = mapped_column(String(63))
    pod_name: Mapped[str] = mapped_column(String(63))
    pod_created: Mapped[bool] = mapped_column(Boolean, default=False)
    pod_gone: Mapped[bool] = mapped_column(Boolean, default=False)
    output_prefix: Mapped[str] = mapped_column(Text)
    logs_uri: Mapped[str] = mapped_column(Text, default="")
    logs_available: Mapped[bool] = mapped_column(Boolean, default=False)
    logs_archived: Mapped[bool] = mapped_column(Boolean, default=False)
    token_hash: Mapped[str] = mapped_column(String(64), default="")
    lease_owner: Mapped[str] = mapped_column(String(63), default="")
    lease_until: Mapped[float] = mapped_column(Double, default=0.0)
    error_code: Mapped[str] = mapped_column(String(255), default="")
    error_message: Mapped[str] = mapped_column(Text, default="")
    error_kind: Mapped[str] = mapped_column(String(16), default="")
    created_at: Mapped[float] = mapped_column(Double)
    started_at: Mapped[float | None] = mapped_column(Double)
    ended_at: Mapped[float | None] = mapped_column(Double)

    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012 - SQLAlchemy's own way to say it

    @validates("phase")
    def _legal(self, _column: str, after: int) -> int:
        if self.phase is not None and self.phase != after:
            check(ATTEMPT, Phase(self.phase), Phase(after))
        return after


class Event(Base):
    """What happened to an action or to one of its attempts: a transition, or a word of the cluster."""

    __tablename__ = "events"
    __table_args__ = (Index("ix_events_action", "action_id", "attempt", "id"),)

    id: Mapped[int] = mapped_column(_ID, primary_key=True)
    action_id: Mapped[int] = mapped_column(ForeignKey("actions.id", ondelete="CASCADE"))
    attempt: Mapped[int] = mapped_column(Integer, default=0)
    kind: Mapped[str] = mapped_column(String(16))
    before: Mapped[int] = mapped_column(Integer, default=0)
    after: Mapped[int] = mapped_column(Integer, default=0)
    reason: Mapped[str] = mapped_column(String(255), default="")
    message: Mapped[str] = mapped_column(Text, default="")
    warning: Mapped[bool] = mapped_column(Boolean, default=False)
    at: Mapped[float] = mapped_column(Double)


class Secret(Base):
    """A secret's ciphertext; project and domain are empty for the whole server, domain alone for all projects."""

    __tablename__ = "secrets"
    __table_args__ = (UniqueConstraint("project", "domain", "name"),)

    id: Mapped[int] = mapped_column(_ID, primary_key=True)
    project: Mapped[str] = mapped_column(String(63), default="")
    domain: Mapped[str] = mapped_column(String(63), default="")
    name: Mapped[str] = mapped_column(String(255))
    type: Mapped[int] = mapped_column(Integer, default=0)
    key_id: Mapped[str] = mapped_column(String(16))
    ciphertext: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[float] = mapped_column(Double)
    updated_at: Mapped[float] = mapped_column(Double)


class Token(Base):
    """A bearer token's hash and what it may do; an empty project means all of them."""

    __tablename__ = "tokens"

    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    name: Mapped[str] = mapped_column(String(255))
    hash: Mapped[str] = mapped_column(String(64))
    project: Mapped[str] = mapped_column(String(63), default="")
    created_at: Mapped[float] = mapped_column(Double)
    revoked_at: Mapped[float | None] = mapped_column(Double)


class Lease(Base):
    """A named right that one server holds at a time: it expires unless renewed."""

    __tablename__ = "leases"

    name: Mapped[str] = mapped_column(String(63), primary_key=True)
    holder: Mapped[str] = mapped_column(String(63), default="")
    until: Mapped[float] = mapped_column(Double, default=0.0)
