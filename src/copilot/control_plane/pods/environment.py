"""The main container's environment: what Flyte's contract promises, what the task and the run add. Pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from copilot.control_plane.pods.variables import Variables, render

if TYPE_CHECKING:
    from copilot.control_plane.lifecycle.work import AttemptWork
    from copilot.control_plane.pods.settings import PodSettings


TASK_TOKEN: Final = "COPILOT_TASK_TOKEN"  # noqa: S105 - a variable's name
_TELL: Final = json.dumps(["python3", "-ISc", f"import os; print(os.environ['{TASK_TOKEN}'])"])


def contract_variables(work: AttemptWork, settings: PodSettings) -> dict[str, str]:
    """The variables of the contract, section 4; none of them is a credential."""
    task = work.spec.task_template.id
    insecure = "" if work.report_url.startswith("https:") else "true"
    known = {
        "FLYTE_INTERNAL_EXECUTION_ID": work.run,
        "FLYTE_INTERNAL_EXECUTION_PROJECT": work.project,
        "FLYTE_INTERNAL_EXECUTION_DOMAIN": work.domain,
        "FLYTE_ATTEMPT_NUMBER": str(work.attempt - 1),
        "FLYTE_INTERNAL_TASK_PROJECT": task.project or work.project,
        "FLYTE_INTERNAL_TASK_DOMAIN": task.domain or work.domain,
        "FLYTE_INTERNAL_TASK_NAME": task.name,
        "FLYTE_INTERNAL_TASK_VERSION": task.version,
        "FLYTE_INTERNAL_PROJECT": task.project or work.project,
        "FLYTE_INTERNAL_DOMAIN": task.domain or work.domain,
        "FLYTE_INTERNAL_NAME": task.name,
        "FLYTE_INTERNAL_VERSION": task.version,
        "RUN_NAME": work.run,
        "ACTION_NAME": work.action,
        "_U_ORG_NAME": settings.organization,
        "_U_RUN_BASE": work.run_output_base,
    }
    if work.endpoint:
        known |= {"_U_EP_OVERRIDE": work.endpoint, "_U_USE_ACTIONS": "1"}
        if insecure:
            known["_U_INSECURE"] = insecure
    if work.output_prefix.startswith(("file:", "/")):
        known["FSSPEC_FILE_AUTO_MKDIR"] = "true"
    return known


def credential_variables(work: AttemptWork) -> dict[str, str]:
    """How the SDK in a pod shows the attempt's token to a server that asks for one; the token itself is in ``TASK_TOKEN``.

    The SDK runs a command for its token (``FLYTE_AUTH_TYPE``), but only where its endpoint counts as secure, and takes an
    endpoint with a scheme as it is, unless that names ``localhost``. Nothing is left in the machine's keyring.
    """
    scheme, _, address = work.report_url.partition("://")
    host = address.partition("/")[0]
    if host.partition(":")[0] == "localhost":
        host = host.replace("localhost", "127.0.0.1", 1)
    return {
        "_U_EP_OVERRIDE": f"{scheme}://{host}",
        "FLYTE_AUTH_TYPE": "ExternalCommand",
        "FLYTE_AUTH_COMMAND": _TELL,
        "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring",
    }


def main_environment(
    work: AttemptWork, settings: PodSettings, variables: Variables, *, calls: bool = False
) -> list[dict[str, Any]]:
    """The main container's ``env``: the task's, over it the run's, over them the contract's, sorted by name.

    Templates in values are rendered. With ``calls`` the task may call others on a server that asks for tokens. Raises as
    ``templates.render``.
    """
    own = {each.key: render(each.value, variables, work.inputs) for each in work.spec.task_template.container.env}
    run = {each.key: render(each.value, variables, work.inputs) for each in work.run_spec.envs.values}
    values = {**own, **run, **contract_variables(work, settings)}
    if calls and work.report_url:
        values.pop("_U_INSECURE", None)
        values |= credential_variables(work)
    entries: list[dict[str, Any]] = [{"name": name, "value": value} for name, value in sorted(values.items())]
    entries.append({"name": "_F_PN", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}})
    return entries
