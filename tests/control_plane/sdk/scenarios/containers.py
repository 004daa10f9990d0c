"""Container tasks: values, files, directories, lists, secrets, failure, retry, abort, timeout, a long log."""

from __future__ import annotations

import pathlib
import tempfile
import time

import flyte
import flyte.remote
from flyte.io import Dir, File
from here import container, ended, init, running, submit, tell  # type: ignore[import-not-found]  # run as a script, beside it

init()
add = container("add", "echo $(( $(cat /var/inputs/n) + 1 )) > /var/outputs/m", {"n": int}, {"m": int})
first = flyte.run(add, n=41)
tell(case="add", **ended(first))
again = flyte.with_runcontext(name="named-once", copy_style="none", version="v1")
tell(case="named", names=[again.run(add, n=1).name, again.run(add, n=1).name])

with tempfile.TemporaryDirectory() as name:
    path = pathlib.Path(name) / "in.txt"
    path.write_text("hello file\n")
    _, uri = flyte.remote.upload_file(path)
files = container(
    "files",
    "cp /var/inputs/f /var/outputs/g; mkdir /var/outputs/d; cp /var/inputs/f /var/outputs/d/x",
    {"f": File},
    {"g": File, "d": Dir},
)
tell(case="files", **ended(submit(files, f=File(path=uri))))
lists = container("lists", "cat /var/inputs/xs/1 > /var/outputs/m", {"xs": list[int], "s": str}, {"m": int})
tell(case="lists", **ended(submit(lists, xs=[5, 6], s="a b'c")))
tell(case="no outputs", **ended(submit(container("noio", "true"))))
tell(case="exit 3", **ended(submit(container("exit3", "exit 3", {}, {"m": int}, retries=1))))
tell(case="_ERROR", **ended(submit(container("errfile", "echo 'no luck today' > /var/outputs/_ERROR", {}, {"m": int}))))
tell(case="missing", **ended(submit(container("missing", "true", {}, {"m": int}))))
tell(case="timeout", **ended(submit(container("slow", "sleep 60", {}, {"m": int}, timeout=1))))

stubborn = submit(container("stubborn", "trap '' TERM; while true; do sleep 1; done", {}, {"m": int}))
running(stubborn)
at = time.monotonic()
stubborn.abort("because I said so")
stubborn.wait(quiet=True)
details = flyte.remote.ActionDetails.get(run_name=stubborn.name, name="a0").pb2
tell(case="abort", seconds=time.monotonic() - at, phase=details.status.phase, reason=details.abort_info.reason)

flyte.remote.Secret.create("MY_SECRET", "s3cr3t")
secret = container("secret", 'test "$MY_SECRET" = s3cr3t && echo 7 > /var/outputs/m', {}, {"m": int}, secrets="MY_SECRET")
tell(case="secret", names=[each.name for each in flyte.remote.Secret.listall()], **ended(submit(secret)))
flyte.remote.Secret.delete("MY_SECRET")
tell(case="secret gone", **ended(submit(secret)))

talker = submit(container("talker", "i=0; while [ $i -lt 1000 ]; do echo line $i; i=$((i+1)); done"))
talker.wait(quiet=True)
lines = [line.strip() for line in talker.get_logs()]
tell(case="logs", count=len(lines), first=lines[0], last=lines[-1])
tell(
    case="lists of runs",
    failed=[run.name for run in flyte.remote.Run.listall(in_phase=("failed",), limit=100)],
    all=len(list(flyte.remote.Run.listall(limit=100))),
)
