"""Python tasks: alone, failing, fanning out to fifty, and calling a container task."""

from __future__ import annotations

import asyncio
import sys

import flyte
from flyte.extras import ContainerTask
from here import ended, init, tell  # type: ignore[import-not-found]  # run as a script, beside it

env = flyte.TaskEnvironment(name="penv")
tenfold = ContainerTask(
    name="tenfold",
    image="localhost/task:1",
    inputs={"n": int},
    outputs={"m": int},
    command=["/bin/sh", "-c", "echo $(( $(cat /var/inputs/n) * 10 )) > /var/outputs/m"],
)
calling = flyte.TaskEnvironment(name="calling", depends_on=[flyte.TaskEnvironment.from_task("tenv", tenfold)])


@env.task
async def leaf(x: int) -> int:
    return x + 1


@env.task
async def fan(n: int) -> int:
    return sum(await asyncio.gather(*[leaf(i) for i in range(n)]))


@env.task
async def boom(x: int) -> int:
    raise ValueError(f"kaboom {x}")


@calling.task
async def call(x: int) -> int:
    return int(await tenfold(n=x))


if __name__ == "__main__":
    init()
    tell(case="leaf", **ended(flyte.run(leaf, x=1)))
    tell(case="boom", **ended(flyte.run(boom, x=1)))
    tell(case="call", **ended(flyte.run(call, x=4)))
    tell(case="fan", **ended(flyte.run(fan, n=int(sys.argv[1]))))
