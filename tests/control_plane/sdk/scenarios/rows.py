"""The rest of what the SDK can be asked for: projects, secrets, directories, deployed tasks, reruns, reports, bundles."""

from __future__ import annotations

import pathlib
import tempfile

import flyte
import flyte.remote
import flyte.report
from flyte.io import Dir
from here import container, ended, init, running, submit, tell  # type: ignore[import-not-found]  # run as a script, beside it

env = flyte.TaskEnvironment(name="rows")


@env.task(report=True)
async def reporting(x: int) -> int:
    await flyte.report.replace.aio(f"<p>x is {x}</p>", do_flush=True)
    return x + 1


def projects() -> None:
    flyte.remote.Project.create(id="sdk-project", name="Made by the SDK", description="d", labels={"team": "a"})
    made = flyte.remote.Project.get("sdk-project")
    flyte.remote.Project.update(id="sdk-project", name="Changed")
    changed = flyte.remote.Project.get("sdk-project")
    tell(
        case="projects",
        names=[made.pb2.name, changed.pb2.name],
        listed=sorted(each.pb2.id for each in flyte.remote.Project.listall()),
    )


def secrets() -> None:
    flyte.remote.Secret.create("GOT", "s3cr3t")
    got = flyte.remote.Secret.get("GOT")
    flyte.remote.Secret.delete("GOT")
    tell(case="secrets", name=got.name, shown="s3cr3t" in str(got.pb2), left=[s.name for s in flyte.remote.Secret.listall()])


def directories() -> None:
    with tempfile.TemporaryDirectory() as name:
        for number in range(3):
            pathlib.Path(name, f"f{number}.txt").write_text(f"{number}\n")
        uri = flyte.remote.upload_dir(pathlib.Path(name))
    task = container("directories", "cat /var/inputs/d/*.txt | wc -l > /var/outputs/m", {"d": Dir}, {"m": int})
    tell(case="directories", **ended(submit(task, d=Dir(path=uri))))


def aborts() -> None:
    run = submit(container("endless", "sleep 600"))
    running(run)
    flyte.remote.Action.get(run_name=run.name, name="a0").abort("this action")
    run.wait(quiet=True)
    tell(
        case="aborts",
        reason=flyte.remote.ActionDetails.get(run_name=run.name, name="a0").pb2.abort_info.reason,
        actions=[action.name for action in flyte.remote.Action.listall(for_run_name=run.name)],
        aborted=run.name in [each.name for each in flyte.remote.Run.listall(in_phase=("aborted",), limit=100)],
    )


def deployed() -> None:
    add = container("deployed", "echo $(( $(cat /var/inputs/n) + 1 )) > /var/outputs/m", {"n": int}, {"m": int})
    flyte.deploy(add.parent_env(), version="v1")
    task = flyte.remote.Task.get("deployed", auto_version="latest")
    first = flyte.run(task, n=1)
    facts = ended(first)
    again, other = flyte.rerun(first.name), flyte.rerun(first.name, n=5)
    tell(
        case="deployed",
        version=task.fetch().version,
        inputs=dict(first.inputs()),
        again=ended(again)["outputs"],
        other=ended(other)["outputs"],
        **facts,
    )


def reports() -> None:
    run = flyte.run(reporting, x=4)
    facts = ended(run)
    action = flyte.remote.Action.get(run_name=run.name, name="a0")
    with tempfile.TemporaryDirectory() as name:
        action.download_code(name)
        files = sorted(path.name for path in pathlib.Path(name).rglob("*.py"))
    tell(case="reports", report=action.get_report(), files=files, **facts)


if __name__ == "__main__":
    init()
    projects()
    secrets()
    directories()
    aborts()
    deployed()
    reports()
