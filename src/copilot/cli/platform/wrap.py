"""``copilot wrap``: manifests in, manifests out; the work itself is pure."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from copilot.cli.people import PeopleCommand, completer
from copilot.core.errors import BadFlag, PodRefused
from copilot.engine.atomic import local_errors


def _wrap(**given: Any) -> None:  # noqa: ANN401 - the options, by their names
    from copilot.cli.platform.manifest_text import manifests_text  # noqa: PLC0415 - with the modules below, when it is wanted
    from copilot.control_plane.pods.manifests import wrap_documents  # noqa: PLC0415 - as above
    from copilot.control_plane.pods.settings import PodSettings  # noqa: PLC0415 - as above
    from copilot.control_plane.pods.wrapping import WrapRequest  # noqa: PLC0415 - as above

    if not given["files"]:
        raise BadFlag("wrap needs a manifest", op="flags", subject="-f", hint="copilot wrap -f pod.yaml; - is standard input.")
    for text in (*given["input"], *given["secret"]):
        if "=" not in text:
            raise BadFlag(f"{text!r} has no value", op="flags", hint="Write it as NAME=VALUE.")
    pods = PodSettings(image=given["image"], pull_policy=given["pull_policy"])
    request = WrapRequest(
        inputs_uri=given["inputs"] or "",
        inputs=given["input"],
        outputs_prefix=given["outputs"] or "",
        output_types=given["output"],
        secrets=given["secret"],
        container=given["container"] or "",
        input_dir=given["input_dir"],
        output_dir=given["output_dir"],
        proof=given["proof"],
        sidecar=given["sidecar"],
        env_from=given["env_from"],
        pods=pods,
    )
    done = wrap_documents(_documents(given["files"]), request)
    for note in done.notes:
        click.echo(note, err=True)

    click.echo(manifests_text(done.documents), nl=False)


def _documents(files: Sequence[str]) -> list[object]:
    import yaml  # noqa: PLC0415 - as in _wrap

    from copilot.cli.platform.manifest_text import read_manifests  # noqa: PLC0415 - as above

    found: list[object] = []
    for name in files:
        shown = "standard input" if name == "-" else name
        try:
            with local_errors(shown, op="read"):
                text = sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
            found += read_manifests(text)
        except (yaml.YAMLError, ValueError) as error:
            mark = getattr(error, "problem_mark", None)
            line = f", line {mark.line + 1}" if mark is not None else ""
            raise PodRefused(f"{shown} is no YAML{line}", op="wrap", subject=shown) from error
    return found


command = PeopleCommand(
    "wrap",
    callback=_wrap,
    params=[
        click.Option(
            ["--file", "-f", "files"],
            multiple=True,
            metavar="FILE",
            shell_complete=completer("FILE"),
            help="A manifest, of one document or many; - is standard input.",
        ),
        click.Option(["--inputs"], metavar="URI", help="The inputs.pb."),
        click.Option(
            ["--input", "-i"],
            multiple=True,
            metavar="NAME[:TYPE]=VALUE",
            help="One input; a URI is a file, one that ends with / a directory.",
        ),
        click.Option(["--outputs", "-o"], metavar="URI", help="The prefix that outputs are published to."),
        click.Option(
            ["--output"],
            multiple=True,
            metavar="NAME[:TYPE]",
            help="One output; without any, whatever the container leaves, by its looks.",
        ),
        click.Option(
            ["--secret"],
            multiple=True,
            metavar="TARGET=REFERENCE",
            help="A secret: a TARGET that begins with / is a file, any other a variable.",
        ),
        click.Option(["--container"], metavar="NAME", help="The container that is meant, where there are several."),
        click.Option(["--input-dir"], metavar="PATH", default="/var/flyte/inputs", help="Where it finds its inputs."),
        click.Option(["--output-dir"], metavar="PATH", default="/var/flyte/outputs", help="Where it leaves its outputs."),
        click.Option(
            ["--proof"],
            type=click.Choice(("auto", "wrapper", "marker", "pod", "signal")),
            default="auto",
            help="What proves success: its exit code under copilot exec (wrapper, and auto), _SUCCESS (marker), the API "
            "server (pod), or the mere end of it (signal).",
        ),
        click.Option(
            ["--sidecar"],
            type=click.Choice(("native", "plain")),
            default="native",
            help="A native sidecar, or a plain container beside the task's, for Kubernetes before 1.29.",
        ),
        click.Option(
            ["--env-from"],
            multiple=True,
            metavar="SECRET",
            help="A Secret with the stores' credentials, for Copilot's own containers alone.",
        ),
        click.Option(["--image"], default="copilot", show_default=True, metavar="IMAGE", help="Copilot's image."),
        click.Option(
            ["--pull-policy"],
            type=click.Choice(("IfNotPresent", "Always", "Never")),
            default="IfNotPresent",
            help="When that image is pulled.",
        ),
    ],
    help="Print manifests with Copilot in their pods: inputs fetched before the container starts, outputs published when it "
    "has ended, secrets delivered. Takes Pods, Jobs, CronJobs, Deployments, StatefulSets, DaemonSets and Lists of them; other "
    "documents pass through. Annotations on the pod (template), copilot.dev/inputs, copilot.dev/outputs, copilot.dev/secrets "
    "and others, say the same as the flags, and win over them.",
    example="copilot wrap -f job.yaml -i model=s3://models/v3.onnx -o s3://results/nightly | kubectl apply -f -",
)
