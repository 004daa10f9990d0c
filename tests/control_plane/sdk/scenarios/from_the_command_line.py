"""A container task with a file and a directory, for ``flyte run`` and ``flyte deploy``."""

from __future__ import annotations

import flyte
from flyte.extras import ContainerTask
from flyte.io import Dir, File

COUNT = "cat /var/inputs/f /var/inputs/d/* | wc -l >/var/outputs/m"
WAIT = "until [ -e $(cat /var/inputs/go) ]; do sleep 0.1; done"
counted = ContainerTask(
    name="counted",
    image="localhost/task:1",
    inputs={"f": File, "d": Dir, "go": str},
    outputs={"m": int},
    command=["/bin/sh", "-c", f"{COUNT}; echo counted; {WAIT}"],
)
env = flyte.TaskEnvironment.from_task("counting", counted)
