"""The values that configuration ends in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from copilot.stores.settings import StoreSettings

#: Where Kubernetes reads a container's termination message unless the pod says otherwise.
TERMINATION_LOG: Final = "/dev/termination-log"

#: The reference's exit code for the backend's sake, under the name ``flyte-copilot``: it is counted as the user's failure.
DROP_IN_FAILURE_EXIT_CODE: Final = 137


@dataclass(frozen=True, slots=True)
class LogSettings:
    """How events are told.

    Attributes:
        level: ``debug``, ``info``, ``warning``, ``error`` or ``none``.
        format: ``json``, ``text``, or ``auto``: text on a terminal, JSON elsewhere.
        file: a file that gets every event as JSON at debug level besides; None for none.
    """

    level: str = "info"
    format: str = "auto"
    file: Path | None = None


@dataclass(frozen=True, slots=True)
class Configuration:
    """Everything a process was told, from all places.

    Attributes:
        stores: how stores are reached.
        container: Flyte's base bucket; only named in messages.
        log: how events are told.
        drop_in: whether we go by the name ``flyte-copilot``.
        control_dir: where ``ARMED``, ``READY`` and ``progress`` are kept; None keeps none.
        termination_log: where the termination message goes, if it can be written.
        failure_exit_code: what every failure ends with; None: the table of ``docs/errors.md``.
        err_output_name: the error document's name; empty: under both names that readers look for.
        max_workers: most objects in flight; None: detected.
        memory_bytes: memory for bytes in flight; None: detected from the cgroup.
        part_bytes: length of one range of a big object and, up to 8 MiB, of one part of a big upload; None: 16 MiB.
        read_twice: over plain http, objects of which nothing says what their content is are read twice and compared.
        files: the configuration files that were read, in order.
        warnings: sentences about what was read and has no effect.
        report_url: where the steps of init and sidecar are told; empty tells nobody.
        report_token: what they are told with.
        environ: the environment.
    """

    stores: StoreSettings = field(default_factory=StoreSettings)
    container: str = ""
    log: LogSettings = LogSettings()
    drop_in: bool = False
    control_dir: Path | None = None
    termination_log: Path = Path(TERMINATION_LOG)
    failure_exit_code: int | None = None
    err_output_name: str = ""
    max_workers: int | None = None
    memory_bytes: int | None = None
    part_bytes: int | None = None
    read_twice: bool = True
    files: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    report_url: str = ""
    report_token: str = field(default="", repr=False)
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
