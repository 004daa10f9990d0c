"""A value changes at its manager: the file changes, and the app gets its signal, all through the sidecar's own process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from copilot.core import idl
from copilot.testing.secret_servers.whole_task import PLAIN, Pod, killed_at_the_end, until

if TYPE_CHECKING:
    from copilot.testing.secret_servers.openbao import OpenBao
    from copilot.testing.servers.s3 import S3Server

INTEGER = idl.LiteralType(simple=idl.SimpleType.INTEGER)

READS_AGAIN_WHEN_TOLD = """
import os, pathlib, signal, time
told = []
signal.signal(signal.SIGHUP, lambda *_: told.append(1))
secret, out = pathlib.Path(os.environ["SECRETS"]), pathlib.Path(os.environ["OUT"])
(secret / "pid").write_text(str(os.getpid()))
print(secret.joinpath("token").read_text(), flush=True)
while not told:  # a signal that came before is not waited for again
    time.sleep(0.005)
token, conf = secret.joinpath("token").read_text(), secret.joinpath("conf").read_text()
assert (token, conf) == ("the-second-value", "token=the-second-value")
print(token, conf, flush=True)
(out / "n").write_text("1")
"""


@pytest.fixture
def pod(tmp_path: Path, memory: Path, bao: OpenBao, moto_server: S3Server) -> Iterator[Pod]:
    environ = {**PLAIN, **moto_server.environ, "VAULT_ADDR": bao.address, "VAULT_TOKEN": bao.root}
    made = Pod(tmp_path / "pod", memory, moto_server, moto_server.new_bucket(), environ)
    with killed_at_the_end(made):
        yield made


@pytest.mark.parametrize("told_by", ["signal", "command"])
def test_a_changed_value_reaches_the_file_the_template_and_the_app(pod: Pod, bao: OpenBao, told_by: str) -> None:
    mount = bao.mount("kv", options={"version": "2"})
    bao.api("PUT", f"{mount}/data/app", {"data": {"token": "the-first-value"}})
    template = pod.disk / "conf.j2"
    template.write_text("token={{ app.token }}")
    pid_file = pod.secrets / "pid"
    how = {
        "signal": ("--secrets-signal", "HUP", "--secrets-pid-file", str(pid_file)),
        "command": ("--secrets-command", f"sh -c 'test -n \"$COPILOT_CHANGED_SECRETS\" && kill -HUP $(cat {pid_file})'"),
    }[told_by]
    pod.start_sidecar("--secrets-interval", "300ms", *how, n=INTEGER)
    flags = ("--secret", f"{pod.secrets}/token:0444=vault://{mount}/app#token", "--secrets-name", f"app=vault://{mount}/app")
    assert pod.init(*flags, "--secrets-template", f"{pod.secrets}/conf:0444={template}") == 0
    codes: list[int] = []
    main = threading.Thread(target=lambda: codes.append(pod.main(READS_AGAIN_WHEN_TOLD, "--tee", str(pod.disk))))
    main.start()
    until(lambda: pid_file.exists() and pid_file.read_text() != "", "the app does not run")
    until(lambda: b"***" in (pod.disk / "stdout").read_bytes(), "it does not say what it has read")
    bao.api("PUT", f"{mount}/data/app", {"data": {"token": "the-second-value"}})
    main.join()
    assert codes == [0]
    # The wrapper looks at the files again: it masks what the app has read just now, and what the template holds.
    assert (pod.disk / "stdout").read_bytes() == b"***\n*** ***\n"
    assert pod.end() == 0
    events = [event["event"] for event in pod.events("sidecar")]
    assert events.index("secret.rotated") < events.index("secret.notified")
