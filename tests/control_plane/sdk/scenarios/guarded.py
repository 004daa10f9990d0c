"""A Python task that fans out, on a server that asks everybody for a token. The client comes by TLS, its pods do not."""

from __future__ import annotations

import asyncio
import os
import sys

import flyte
import flyte.remote
from here import ended, tell  # type: ignore[import-not-found]  # run as a script, beside it

env = flyte.TaskEnvironment(name="guarded")


@env.task
async def leaf(x: int) -> int:
    return x + 1


@env.task
async def fan(n: int) -> int:
    return sum(await asyncio.gather(*[leaf(i) for i in range(n)]))


if __name__ == "__main__":
    flyte.init(
        endpoint=os.environ["COPILOT_TEST_ENDPOINT"],
        auth_type="ExternalCommand",
        command=["cat", os.environ["COPILOT_TEST_TOKEN_FILE"]],
        ca_cert_file_path=os.environ["COPILOT_TEST_CA"],
        project="flytesnacks",
        domain="development",
    )
    tell(case="fan", **ended(flyte.run(fan, n=int(sys.argv[1]))))
