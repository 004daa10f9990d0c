"""The main container's environment: what Flyte's contract promises, what the task and the run add. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from copilot.control_plane.pods.variables import Variables, render

if TYPE_CHECKING:
    from copilot.control_plane.lifecycle.work import AttemptWork
    from copilot.control_plane.pods.settings import PodSettings


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


def main_environment(work: AttemptWork, settings: PodSettings, variables: Variables) -> list[dict[str, Any]]:
    """The main container's ``env``: the task's, over it the run's, over them the contract's, sorted by name.

    Templates in values are rendered. Raises as ``templates.render``.
    """
    own = {each.key: render(each.value, variables, work.inputs) for each in work.spec.task_template.container.env}
    run = {each.key: render(each.value, variables, work.inputs) for each in work.run_spec.envs.values}
    values = {**own, **run, **contract_variables(work, settings)}
    entries: list[dict[str, Any]] = [{"name": name, "value": value} for name, value in sorted(values.items())]
    entries.append({"name": "_F_PN", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}})
    return entries
