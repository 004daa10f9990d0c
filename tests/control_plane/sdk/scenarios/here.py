"""What every scenario needs. Run with the official SDK alone: nothing of ours is imported."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

import flyte
import flyte.remote
from flyte.extras import ContainerTask


def init() -> None:
    flyte.init(endpoint=os.environ["COPILOT_TEST_ENDPOINT"], insecure=True, project="flytesnacks", domain="development")


def container(name: str, script: str, inputs: Any = None, outputs: Any = None, **more: Any) -> ContainerTask:  # noqa: ANN401
    task = ContainerTask(
        name=name,
        image="localhost/task:1",
        inputs=inputs or {},
        outputs=outputs or {},
        command=["/bin/sh", "-c", script],
        **more,
    )
    flyte.TaskEnvironment.from_task(f"env_{name}", task)
    return task


def ended(run: Any) -> dict[str, Any]:  # noqa: ANN401
    run.wait(quiet=True)
    details = flyte.remote.ActionDetails.get(run_name=run.name, name="a0").pb2
    outputs = run.outputs()
    return {
        "run": run.name,
        "phase": str(flyte.remote.Run.get(run.name).phase).rpartition(".")[2],
        "attempts": [attempt.phase for attempt in details.attempts],
        "error": details.error_info.message,
        "code": details.error_info.code,
        "outputs": [str(getattr(value, "path", value)) for value in outputs],
    }


def submit(task: Any, **inputs: Any) -> Any:  # noqa: ANN401
    return flyte.with_runcontext(copy_style="none", version="v1").run(task, **inputs)


def running(run: Any) -> None:  # noqa: ANN401
    deadline = time.monotonic() + 60
    while not str(flyte.remote.Run.get(run.name).phase).upper().endswith("RUNNING"):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def tell(**facts: Any) -> None:  # noqa: ANN401
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()
