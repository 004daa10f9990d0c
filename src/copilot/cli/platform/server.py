"""``copilot server``: the control plane, in one process."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import click

from copilot.cli.people import Invocation, PeopleCommand
from copilot.cli.platform import database_url, server_secrets
from copilot.cli.platform.server_pods import EXECUTORS, open_executor
from copilot.core.errors import BadFlag, CopilotError
from copilot.engine.atomic import local_errors

if TYPE_CHECKING:
    from copilot.cli.session import Session
    from copilot.control_plane.settings import ServerSettings

#: Variables of the environment that the data-plane containers of pods need to reach the same stores as the server.
_CLOUD: Final = ("AWS_", "GOOGLE_", "AZURE_", "STORAGE_EMULATOR_HOST")
_SECRET_KEYS: Final = "COPILOT_SECRET_KEYS"  # noqa: S105 - a variable's name
_URL_KEY: Final = "COPILOT_URL_KEY"
_PORT: Final = click.IntRange(0, 65_535)
_EVERYWHERE: Final = ("0.0.0.0", "::")  # noqa: S104 - compared, not bound
_NAMESPACE: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


@click.pass_obj
def _server(invocation: Invocation, /, **given: Any) -> int:  # noqa: ANN401 - the options, by their names
    session = invocation.open()
    try:
        _serve(session, given)
    except CopilotError as error:
        return session.fail(error)
    finally:
        session.close()
    return 0


def _serve(session: Session, given: dict[str, Any]) -> None:
    from copilot.control_plane.pods.maker import Pods  # noqa: PLC0415 - the server's own packages, when it is wanted
    from copilot.control_plane.pods.settings import PodSettings, load_templates  # noqa: PLC0415 - as above
    from copilot.control_plane.server import ControlPlane, check_exposure, run_server  # noqa: PLC0415 - as above
    from copilot.stores.presign import presign  # noqa: PLC0415 - as above

    if given["sidecar"] == "plain" and given["wrap"] == "never":
        raise BadFlag(
            "nothing but copilot exec tells a plain sidecar of its task's end",
            op="flags",
            subject="--sidecar",
            hint="Add --wrap always (or --wrap command, for tasks that name their image's command).",
        )
    settings = _settings(session, given)
    # Before anything is opened: a server that may not start leaves nothing behind.
    check_exposure(settings)
    _check(session, settings, shared=given["replicas"])
    kept = server_secrets.keep_secrets(session, given["secrets"])
    settings = replace(settings, pod_env={**settings.pod_env, **kept.pod_env})
    templates = load_templates(Path(given["pod_templates"]) if given["pod_templates"] else None)
    pod_settings = PodSettings(
        templates=templates,
        image=given["image"],
        wrap=given["wrap"],
        sidecar=given["sidecar"],
        auth=given["auth"],
        secrets=kept.platform,
    )
    with local_errors(settings.data):
        # Tasks' variables, values and logs are nobody else's on this machine; a directory that is there keeps its mode.
        settings.data.mkdir(parents=True, exist_ok=True, mode=0o700)
    executing = open_executor(session, given, settings.data, pod_settings)
    settings = replace(settings, namespace=executing.namespace)
    try:
        plane = ControlPlane(
            settings,
            stores=session.stores,
            pods=executing.pods,
            maker=Pods(executing.settings),
            clock=session.clock,
            log=session.log,
            presign=presign,
            lease=executing.lease,
            secrets=kept.store,
        )
        everywhere = settings.host in _EVERYWHERE
        run_server(plane, ready=lambda url: _tell(url, plane.metrics_url, everywhere=everywhere), asked=session.latch.is_set)
    finally:
        executing.close()


def _check(session: Session, settings: ServerSettings, *, shared: bool) -> None:
    """Raises ``BadFlag`` for what could not work, and would only be noticed when the first task fails."""
    if shared and settings.database_url.startswith("sqlite"):
        raise BadFlag(
            "several servers need one database, and SQLite is for one server",
            op="flags",
            subject="--replicas",
            hint="Set COPILOT_DATABASE to postgresql://….",
        )
    url = urlsplit(settings.public_url)
    if settings.public_url and (url.scheme not in {"http", "https"} or not url.hostname):
        raise BadFlag(
            f"--public-url {settings.public_url!r} is no URL of a server",
            op="flags",
            hint="Write it like https://copilot.example.com.",
        )
    if settings.namespace and not _NAMESPACE.fullmatch(settings.namespace):
        raise BadFlag(f"--namespace {settings.namespace!r} cannot be one", op="flags", hint="Write it like copilot-pods.")
    if not session.stores.locate(settings.store or settings.store_base).store.capabilities.writable:
        raise BadFlag(
            f"nothing can be written to --store {settings.store_base}", op="flags", hint="Give s3://, gs://, az:// or a path."
        )


def _store(given: str) -> str:
    """A URI: a plain path is this machine's, wherever the pods' processes stand."""
    return given if not given or "://" in given else f"file://{Path(given).resolve()}"


def _tell(url: str, metrics_url: str, *, everywhere: bool) -> None:
    if metrics_url:
        click.echo(f"copilot server serves its metrics at {metrics_url}", err=True)
    where = "every address, here as " if everywhere else ""
    click.echo(f"copilot server is listening on {where}{url}", err=True)


def _settings(session: Session, given: Mapping[str, Any]) -> ServerSettings:
    from copilot.control_plane.settings import Limits, ServerSettings, default_data  # noqa: PLC0415 - as in _serve

    environ = session.configuration.environ
    limits = Limits(max_pods=given["max_pods"], max_runs_per_project=given["max_runs_per_project"])
    return ServerSettings(
        data=Path(given["data"]) if given["data"] else default_data(),
        database=database_url.database_url(given["database"], environ),
        store=_store(given["store"] or ""),
        host=given["host"],
        port=given["port"],
        metrics_host=given["metrics_host"] or "",
        metrics_port=given["metrics_port"],
        public_url=given["public_url"] or "",
        require_auth=given["auth"],
        insecure=given["insecure_no_auth"],
        namespace=given["namespace"] or "",
        secret_keys=tuple(environ.get(_SECRET_KEYS, "").split()),
        url_key=environ.get(_URL_KEY, ""),
        pod_env=pod_environment(session),
        task_env=task_environment(session),
        limits=limits,
    )


def pod_environment(session: Session) -> dict[str, str]:
    """What ``copilot init`` and ``copilot sidecar`` need in a pod to open the stores that the server opens."""
    environ = {key: value for key, value in session.configuration.environ.items() if key.startswith(_CLOUD)}
    s3 = session.configuration.stores.s3
    given = {
        "AWS_ENDPOINT_URL": s3.endpoint,
        "AWS_REGION": s3.region,
        "AWS_ACCESS_KEY_ID": s3.access_key_id,
        "AWS_SECRET_ACCESS_KEY": s3.secret_access_key,
        "AWS_SESSION_TOKEN": s3.session_token,
    }
    return environ | {key: value for key, value in given.items() if value}


def task_environment(session: Session) -> dict[str, str]:
    """What a Python task's runtime needs to read and write the store itself."""
    ours = pod_environment(session)
    names = {
        "AWS_ENDPOINT_URL": "FLYTE_AWS_ENDPOINT",
        "AWS_ACCESS_KEY_ID": "FLYTE_AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY": "FLYTE_AWS_SECRET_ACCESS_KEY",
    }
    found = {theirs: ours[name] for name, theirs in names.items() if name in ours}
    # The runtime makes no directories for file:// outputs by itself.
    return {"FSSPEC_FILE_AUTO_MKDIR": "true"} | found


command = PeopleCommand(
    "server",
    callback=_server,
    params=[
        click.Option(["--host"], default="127.0.0.1", show_default=True, metavar="ADDRESS", help="Where to listen."),
        click.Option(["--port"], type=_PORT, default=8090, show_default=True, help="The port; 0: any free one."),
        click.Option(["--metrics-port"], type=_PORT, help="Serve Prometheus metrics there, to everybody; 0: any free port."),
        click.Option(["--metrics-host"], metavar="ADDRESS", help="The address for them, if not --host."),
        click.Option(["--data"], metavar="DIR", help="Database, keys, pods and store, unless told otherwise."),
        click.Option(["--database"], metavar="URL", help=database_url.HELP),
        click.Option(["--store"], metavar="URI", help="Where all objects lie; by default below --data."),
        click.Option(
            ["--executor"],
            default=EXECUTORS[0],
            show_default=True,
            metavar="NAME",
            help="What runs pods: process (this machine) or kubernetes.",
        ),
        click.Option(["--kubeconfig"], metavar="FILE", help="Which cluster; else KUBECONFIG, our own pod's, ~/.kube/config."),
        click.Option(["--kube-context"], metavar="NAME", help="The context of the kubeconfig, instead of its current one."),
        click.Option(["--replicas"], is_flag=True, help="Several servers share a cluster: one at a time looks after pods."),
        click.Option(
            ["--wrap"],
            type=click.Choice(["never", "command", "always"]),
            default="never",
            show_default=True,
            help="Run tasks under copilot exec, which proves how they ended: none, those that name their image's command (the "
            "SDK and copilot submit name arguments alone), or all (an image's entrypoint is left out).",
        ),
        click.Option(
            ["--sidecar"],
            type=click.Choice(["native", "plain"]),
            default="native",
            show_default=True,
            help="Native sidecars, or plain containers beside the task's, for Kubernetes before 1.29: with --wrap.",
        ),
        click.Option(["--require-images"], is_flag=True, help="Refuse pods whose image would not be used."),
        click.Option(["--image"], default="copilot", metavar="IMAGE", help="The image of init container and sidecar."),
        click.Option(
            ["--secrets"], default=server_secrets.EMBEDDED, show_default=True, metavar="MANAGER", help=server_secrets.HELP
        ),
        click.Option(["--pod-templates"], metavar="DIR", help="Further pod templates, *.yaml."),
        click.Option(["--namespace"], metavar="NAME", help="The namespace of all pods; else the cluster's own, or copilot."),
        click.Option(["--max-pods"], type=click.IntRange(1), default=64, show_default=True, help="Most pods at once."),
        click.Option(
            ["--max-runs-per-project"], type=click.IntRange(0), default=0, help="Most runs of a project at once; 0: no limit."
        ),
        click.Option(["--public-url"], metavar="URL", help="How clients and pods reach this server."),
        click.Option(["--auth/--no-auth"], default=False, help="Ask everybody for a bearer token."),
        click.Option(["--insecure-no-auth"], is_flag=True, help="Listen beyond loopback without authentication."),
    ],
    help="Run a control plane for Flyte's SDK and command line: submits, schedules, watches and answers, in one process. "
    f"{_SECRET_KEYS} (base64 keys, the newest first) and {_URL_KEY} replace the keys that are otherwise kept below --data.",
    example="copilot server --data ./copilot-data --store s3://bucket/copilot",
)
