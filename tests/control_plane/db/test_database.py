from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import make_url, select, text

from copilot.control_plane.db.database import Database, Unit
from copilot.control_plane.db.models import Action, Attempt, Base, Project, Run, TaskSpecBlob
from copilot.control_plane.errors import ControlPlaneError, DatabaseUnavailable, IllegalTransition, StateChanged
from copilot.control_plane.hub import Hub
from copilot.control_plane.lifecycle.phases import Phase
from copilot.core.errors import BadConfig, BadFlag

if TYPE_CHECKING:
    from copilot.testing.servers.postgresql import PostgresServer


def make_action(database: Database, **columns: object) -> int:
    def make(unit: Unit) -> int:
        session = unit.session
        if session.get(Project, "p") is None:
            session.add(Project(id="p", created_at=1.0))
            session.add(TaskSpecBlob(digest="d", spec=b""))
            session.flush()
        run = Run(project="p", domain="development", name="r", request_digest="", run_spec=b"", output_base="", created_at=1.0)
        session.add(run)
        session.flush()
        action = Action(run_id=run.id, project="p", name="a0", spec_digest="d", created_at=1.0, updated_at=1.0, **columns)
        session.add(action)
        session.flush()
        return action.id

    return database.write_now(make)


def test_the_migrations_make_the_tables_the_models_say(database: Database) -> None:
    with database._writing.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []


def test_migrating_twice_changes_nothing(database: Database) -> None:
    database.migrate()
    assert database.read_now(lambda session: session.scalars(select(Project)).all()) == []


def test_a_database_of_another_version_says_so(database: Database) -> None:
    database.write_now(lambda unit: unit.session.execute(text("UPDATE alembic_version SET version_num = 'r9999'")))
    with pytest.raises(BadConfig, match=r"another version.*r9999"):
        database.migrate()


def test_a_file_that_is_no_database_says_so(tmp_path: Path) -> None:
    path = tmp_path / "copilot.db"
    path.write_text("no database at all, by any means\n" * 100)
    database = Database(f"sqlite:///{path}", Hub())
    with pytest.raises(BadConfig, match="file is not a database"):
        database.migrate()
    database.close()


def test_a_database_that_does_not_let_us_in_says_why_without_the_password(postgresql: PostgresServer) -> None:
    url = make_url(postgresql.create_database())
    for wrong in (url.set(password="wr0ng-s3cret"), url.set(database="nosuch"), url.set(port=1)):
        database = Database(wrong.render_as_string(hide_password=False), Hub())
        with pytest.raises(DatabaseUnavailable) as caught:
            database.migrate()
        database.close()
        sentence = caught.value.sentence()
        assert str(wrong.host) in sentence
        assert "(" in sentence
        assert str(wrong.password) not in sentence


def test_an_illegal_transition_cannot_be_written(database: Database) -> None:
    action_id = make_action(database, phase=int(Phase.SUCCEEDED))

    def resurrect(unit: Unit) -> None:
        unit.session.get_one(Action, action_id).phase = int(Phase.RUNNING)

    with pytest.raises(IllegalTransition):
        database.write_now(resurrect)
    assert database.read_now(lambda session: session.get_one(Action, action_id).phase) == Phase.SUCCEEDED


def test_who_read_an_older_version_changes_nothing(database: Database) -> None:
    action_id = make_action(database)
    stale = database.read_now(lambda session: session.get_one(Action, action_id))
    database.write_now(lambda unit: setattr(unit.session.get_one(Action, action_id), "phase", int(Phase.ABORTED)))

    def write_stale(unit: Unit) -> None:
        unit.session.add(stale)
        stale.phase = int(Phase.INITIALIZING)

    with pytest.raises(ControlPlaneError):
        database.write_now(write_stale)
    assert database.read_now(lambda session: session.get_one(Action, action_id).phase) == Phase.ABORTED


def test_an_action_has_one_live_attempt_at_most(database: Database) -> None:
    action_id = make_action(database)

    def attempt(unit: Unit, number: int) -> None:
        row = Attempt(
            action_id=action_id,
            number=number,
            pod_namespace="n",
            pod_name=f"p{number}",
            output_prefix="",
            created_at=1.0,
            phase=1,
        )
        unit.session.add(row)

    database.write_now(lambda unit: attempt(unit, 1))
    with pytest.raises(StateChanged):
        database.write_now(lambda unit: attempt(unit, 2))


def test_concurrent_writers_lose_nothing(database: Database) -> None:
    database.write_now(lambda unit: unit.session.add(Project(id="p", name="0", created_at=1.0)))

    def count() -> None:
        for _ in range(20):
            database.write_now(add_one)

    def add_one(unit: Unit) -> None:
        project = unit.session.scalars(select(Project).where(Project.id == "p").with_for_update()).one()
        project.name = str(int(project.name) + 1)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert database.read_now(lambda session: session.get_one(Project, "p").name) == "80"


def test_a_failed_piece_of_work_leaves_nothing(database: Database) -> None:
    def fail(unit: Unit) -> None:
        unit.session.add(Project(id="half", created_at=1.0))
        unit.session.flush()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        database.write_now(fail)
    assert database.read_now(lambda session: session.get(Project, "half")) is None


def test_a_database_that_does_not_answer_is_told_without_its_password() -> None:
    nowhere = Database("postgresql://user:word@127.0.0.1:1/none", Hub())
    with pytest.raises(DatabaseUnavailable) as caught:
        nowhere.read_now(lambda session: session.execute(text("SELECT 1")))
    assert "word" not in caught.value.sentence()
    nowhere.close()


@pytest.mark.parametrize("url", ["mysql://x/y", "sqlite://", "sqlite:///:memory:", "no url at all"])
def test_a_database_that_is_not_supported_is_refused_with_what_is(url: str) -> None:
    with pytest.raises(BadFlag) as caught:
        Database(url, Hub())
    assert "postgresql://" in caught.value.hint
