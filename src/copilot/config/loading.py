"""From flags, environment and files to one ``Configuration``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast, get_args

from copilot.config.flyte import KNOWN, flag, merge, store_settings
from copilot.config.nearest import did_you_mean
from copilot.config.values import DROP_IN_FAILURE_EXIT_CODE, TERMINATION_LOG, Configuration, LogSettings
from copilot.core.errors import BadConfig, BadFlag
from copilot.stores.settings import Engine, StoreSettings

if TYPE_CHECKING:
    from copilot.config.flyte import FlyteStorage

Flags = Mapping[str, Sequence[str]]
"""Flag names without dashes, each with every value given, in order."""

LOG_LEVELS: Final = ("debug", "info", "warning", "error", "none")
LOG_FORMATS: Final = ("auto", "json", "text")

#: The reference's numbers (logrus): panic and fatal, error, warning, info, debug, trace.
_LEVEL_OF_NUMBER: Final = {"0": "error", "1": "error", "2": "error", "3": "warning", "4": "info", "5": "debug", "6": "debug"}
_STORAGE: Final = "storage."


def load(flags: Flags, environ: Mapping[str, str], *, drop_in: bool = False, default_level: str = "info") -> Configuration:
    """What ``flags``, ``environ`` and the files they name come to.

    Args:
        flags: as the command line parsed them.
        environ: the environment.
        drop_in: whether we go by the reference's name.
        default_level: the least level told where nobody asked for another.

    Raises:
        BadFlag: a flag's value cannot be.
        BadConfig: a file or a variable cannot be used.
    """
    reader = _Reader(flags, environ)
    patterns = [pattern for pattern in (reader.last("config") or environ.get("COPILOT_CONFIG", "")).split(",") if pattern]
    files, warnings, document = _read(patterns, missing_is_error=not drop_in)
    storage = _storage(flags, environ, document)
    stores = _ours(reader, replace(storage.settings, environ=dict(environ)))
    return Configuration(
        stores=stores,
        container=storage.container,
        log=_log(reader, default_level),
        drop_in=drop_in,
        control_dir=_path(reader.text("control-dir", "COPILOT_CONTROL_DIR")),
        termination_log=Path(reader.text("termination-log", "COPILOT_TERMINATION_LOG") or TERMINATION_LOG),
        failure_exit_code=_exit_code(reader, drop_in=drop_in),
        err_output_name=reader.last("err-output-name"),
        max_workers=_positive(reader, "max-workers", "COPILOT_MAX_WORKERS"),
        memory_bytes=size_bytes(reader.text("memory", "COPILOT_MEMORY"), "--memory"),
        part_bytes=size_bytes(reader.text("part-size", "COPILOT_PART_SIZE"), "COPILOT_PART_SIZE"),
        read_twice=flag(environ.get("COPILOT_READ_TWICE") or "true", "COPILOT_READ_TWICE"),
        files=tuple(files),
        warnings=(*warnings, *storage.warnings),
        report_url=environ.get("COPILOT_REPORT_URL", ""),
        report_token=environ.get("COPILOT_REPORT_TOKEN", ""),
        environ=dict(environ),
    )


def _read(patterns: Sequence[str], *, missing_is_error: bool) -> tuple[list[str], list[str], dict[str, object]]:
    if not patterns:
        return [], [], {}
    from copilot.config import documents  # noqa: PLC0415 - a pod's start pays for files only where there are some

    files, warnings = documents.find(patterns, missing_is_error=missing_is_error)
    return files, warnings, documents.read(files)


class _Reader:
    """A flag's last value, else a variable's."""

    def __init__(self, flags: Flags, environ: Mapping[str, str]) -> None:
        self._flags = flags
        self._environ = environ

    def last(self, name: str) -> str:
        values = self._flags.get(name, ())
        return values[-1] if values else ""

    def text(self, name: str, variable: str) -> str:
        return self.last(name) or self._environ.get(variable, "")

    def every(self, name: str, variable: str) -> tuple[str, ...]:
        values = tuple(value for value in self._flags.get(name, ()) if value)
        return values or tuple(value for value in self._environ.get(variable, "").split(",") if value)

    def true(self, name: str, variable: str) -> bool:
        return flag(self.text(name, variable), f"--{name}")

    def one_of(self, name: str, variable: str, words: Sequence[str], default: str) -> str:
        value = self.text(name, variable) or default
        if value not in words:
            raise BadFlag(
                f"--{name} is {value!r}",
                op="flags",
                subject=f"--{name}",
                hint=did_you_mean(value, words) or f"It is one of {', '.join(words)}.",
            )
        return value


def _storage(flags: Flags, environ: Mapping[str, str], document: Mapping[str, object]) -> FlyteStorage:
    section = document.get("storage", {})
    if section is None:
        section = {}
    if not isinstance(section, Mapping):
        raise BadConfig("storage: is not a mapping in the configuration files", op="config", subject="storage")
    over: dict[str, object] = {}
    for variable, value in environ.items():
        path = _variable_path(variable)
        if path:
            _place(over, path, value)
    merged = merge(section, over)
    for name, values in flags.items():
        if not name.startswith(_STORAGE) or not values:
            continue
        path = name.removeprefix(_STORAGE).lower().split(".")
        if path == ["stow", "config"]:
            stow = merged.get("stow")
            merged["stow"] = {**(stow if isinstance(stow, Mapping) else {}), "config": string_to_string(values, f"--{name}")}
        else:
            _place(merged, path, values[-1])
    return store_settings(merged, StoreSettings())


def _place(target: dict[str, object], path: Sequence[str], value: str) -> None:
    for key in path[:-1]:
        inner = target.get(key)
        inner = dict(inner) if isinstance(inner, Mapping) else {}
        target[key] = inner
        target = inner
    target[path[-1]] = value


def _variable_path(variable: str) -> list[str]:
    """``STORAGE.STOW.KIND``, the reference's spelling of a variable, as a path; empty for one that names no single value."""
    if not variable.startswith("STORAGE."):
        return []
    first, _, second = variable.removeprefix("STORAGE.").lower().partition(".")
    keys = [key for key in (first, first.replace("_", "-")) if key in KNOWN]
    if not keys or not second:
        return keys[:1]
    below = KNOWN[keys[0]] or frozenset()
    return next(([keys[0], name] for name in (second, second.replace("_", "-")) if name in below), [])


def string_to_string(values: Sequence[str], where: str) -> dict[str, str]:
    """``k=v`` texts as pflag's ``stringToString`` reads them: one pair, or several separated by commas (CSV quoting).

    Raises:
        BadFlag: a text without ``=``. Its value is not repeated: it may be a secret.
    """
    result: dict[str, str] = {}
    for value in values:
        if value.count("=") > 1:
            import csv  # noqa: PLC0415 - only for several pairs in one value

            pairs = next(csv.reader([value]), [])
        else:
            pairs = [value.strip('"')] if value else []
        for pair in pairs:
            key, equals, text = pair.partition("=")
            if not equals:
                raise BadFlag(f"{where} has a value without '='", op="flags", subject=where, hint="Write it as key=value.")
            result[key.lower()] = text
    return result


def _ours(reader: _Reader, stores: StoreSettings) -> StoreSettings:
    engine = cast("Engine", reader.one_of("engine", "COPILOT_ENGINE", get_args(Engine), stores.engine))
    stores = replace(stores, engine=engine)
    for given in reader.every("endpoint", "COPILOT_ENDPOINT"):
        stores = _endpoint(stores, given)
    region = reader.text("region", "COPILOT_REGION")
    if region:
        stores = replace(stores, s3=replace(stores.s3, region=region))
    profile = reader.text("profile", "COPILOT_PROFILE")
    if profile:
        stores = replace(stores, s3=replace(stores.s3, profile=profile))
    if reader.true("anonymous", "COPILOT_ANONYMOUS"):
        stores = replace(
            stores,
            s3=replace(stores.s3, anonymous=True),
            gcs=replace(stores.gcs, anonymous=True),
            azure=replace(stores.azure, anonymous=True),
        )
    return stores


def _endpoint(stores: StoreSettings, given: str) -> StoreSettings:
    family, equals, url = given.partition("=")
    if not equals or "://" in family:
        family, url = "s3", given
    if family == "s3":
        return replace(stores, s3=replace(stores.s3, endpoint=url))
    if family in {"gs", "gcs"}:
        return replace(stores, gcs=replace(stores.gcs, endpoint=url))
    if family in {"az", "azure", "abfs"}:
        return replace(stores, azure=replace(stores.azure, endpoint=url))
    raise BadFlag(
        f"--endpoint is for the unknown cloud {family!r}",
        op="flags",
        subject="--endpoint",
        hint="Write a URL (for S3), s3=URL, gs=URL or az=URL.",
    )


def _log(reader: _Reader, default: str) -> LogSettings:
    number = reader.last("logger.level")
    default = _LEVEL_OF_NUMBER.get(number, default)
    if reader.true("quiet", "COPILOT_QUIET"):
        default = "error"
    if reader.true("verbose", "COPILOT_VERBOSE"):
        default = "debug"
    return LogSettings(
        level=reader.one_of("log-level", "COPILOT_LOG_LEVEL", LOG_LEVELS, default),
        format=reader.one_of("log-format", "COPILOT_LOG_FORMAT", LOG_FORMATS, "auto"),
        file=_path(reader.text("log-file", "COPILOT_LOG_FILE")),
    )


def _exit_code(reader: _Reader, *, drop_in: bool) -> int | None:
    given = reader.text("failure-exit-code", "COPILOT_FAILURE_EXIT_CODE")
    if not given:
        return DROP_IN_FAILURE_EXIT_CODE if drop_in else None
    if not given.isdigit() or not 1 <= int(given) <= 255:  # noqa: PLR2004 - what a process can end with
        raise BadFlag(
            f"--failure-exit-code is {given!r}", op="flags", subject="--failure-exit-code", hint="Give a number from 1 to 255."
        )
    return int(given)


def _positive(reader: _Reader, name: str, variable: str) -> int | None:
    given = reader.text(name, variable)
    if not given:
        return None
    if not given.isdigit() or int(given) < 1:
        raise BadFlag(f"--{name} is {given!r}", op="flags", subject=f"--{name}", hint="Give a whole number from 1.")
    return int(given)


def size_bytes(text: str, where: str) -> int | None:
    """``64MiB``, ``1G``, ``1048576``: bytes; None for nothing. ``K``, ``M``, ``G`` count in 1024s, as Kubernetes' ``Ki`` does.

    Raises:
        BadFlag: anything else.
    """
    if not text:
        return None
    digits = text.rstrip("BbiIkKmMgG")
    unit = text[len(digits) :].lower().removesuffix("b").removesuffix("i")
    factor = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}.get(unit)
    if not digits.isdigit() or factor is None:
        raise BadFlag(f"{where} is {text!r}, which is no size", op="flags", subject=where, hint="Write it like 64MiB.")
    return int(digits) * factor


def _path(text: str) -> Path | None:
    return Path(text) if text else None
