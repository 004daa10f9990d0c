"""What every command works with, opened once: log, clock, progress, stores, transfer, and the reasons to stop."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Final, Protocol, TextIO

from copilot import config
from copilot.cli.arguments.flags import POD_COMMANDS
from copilot.engine.atomic import local_errors
from copilot.engine.cancel import Token
from copilot.engine.clock import SystemClock
from copilot.telemetry.log import JsonLog, TextLog
from copilot.telemetry.progress import Count, Everybody, FileProgress, LogProgress
from copilot.telemetry.redact import Redactor

if TYPE_CHECKING:
    from copilot.cli.outcome import Outcome
    from copilot.config import Configuration
    from copilot.core.ports import CancelToken, Log, Progress, Stores
    from copilot.engine.transfer import Transfer
    from copilot.telemetry.bar import BarProgress
    from copilot.telemetry.report import Reporter

#: Seconds that writing the error document may take after the work itself has failed.
ERROR_DOCUMENT_S = 20.0

#: The step that a failure of a pod's container is reported as.
FAILED_STEPS: Final = {"init": "InputsNotStaged", "download": "InputsNotStaged", "sidecar": "OutputsNotPublished"}


class Latch(Protocol):
    """``signals.Latch``, as the commands see it."""

    @property
    def received(self) -> int:
        """The signal's number, 0 before it."""
        ...

    @property
    def received_s(self) -> float:
        """When it came, in monotonic seconds."""
        ...

    @property
    def again(self) -> int:
        """The number of the last signal after the first, 0 before it."""
        ...

    def is_set(self) -> bool:
        """Whether it came."""
        ...

    def wait(self, timeout: float | None = None) -> bool:
        """Blocks until it comes."""
        ...


class LogWithFile:
    """A log, and every event of it in a file as well."""

    def __init__(self, log: Log, file: Log) -> None:
        self._logs = (log, file)

    def event(self, name: str, /, *, level: str = "info", **fields: object) -> None:
        """Writes to both."""
        for log in self._logs:
            log.event(name, level=level, **fields)


class Terminal:
    """Standard error of a terminal: lines go above the bar while there is one."""

    def __init__(self) -> None:
        self.bar: BarProgress | None = None

    def write(self, text: str) -> None:
        """Writes whole lines."""
        if self.bar is None or not self.bar.above(text):
            sys.stderr.write(text)

    def flush(self) -> None:
        """Nothing is kept back."""
        sys.stderr.flush()


class Session:
    """One process's work. Nothing is opened before it is asked for.

    Args:
        configuration: what we were told.
        latch: remembers signals.
        command: the sub-command, on every log line.
    """

    def __init__(self, configuration: Configuration, latch: Latch, *, command: str) -> None:
        self.configuration = configuration
        self.latch = latch
        self.command = command
        self.clock = SystemClock()
        self.patience_s: float | None = None
        """How long a store that fails is tried again, in seconds, if not as usual; set it before ``transfer`` is used."""
        self.last_words: CancelToken | None = None
        """Until when a failure may be told to the store; None for as long as it takes."""
        self.redactor = Redactor()
        for secret in config.secret_values(configuration):
            self.redactor.register(secret)
        self._log_stream: TextIO | None = None
        self._document_left = False
        self._terminal = Terminal()
        self.log: Log = self._open_log()
        for warning in configuration.warnings:
            self.log.event("config.warning", level="warning", message=warning)

    @property
    def speaks_to_people(self) -> bool:
        """Whether events are told as text: asked for, or on a terminal, or for a command that people type."""
        wanted = self.configuration.log.format
        return wanted == "text" or (wanted == "auto" and (self.command not in POD_COMMANDS or sys.stderr.isatty()))

    def _open_log(self) -> Log:
        settings = self.configuration.log
        context = {"command": self.command}
        log: Log
        if self.speaks_to_people:
            log = TextLog(
                self._terminal, clock=self.clock, redactor=self.redactor, level=settings.level, colour=sys.stderr.isatty()
            )
        else:
            log = JsonLog(sys.stderr, clock=self.clock, redactor=self.redactor, level=settings.level, context=context)
        if settings.file is None:
            return log
        with local_errors(settings.file):
            self._log_stream = settings.file.open("a", encoding="utf-8", errors="backslashreplace")
        return LogWithFile(
            log, JsonLog(self._log_stream, clock=self.clock, redactor=self.redactor, level="debug", context=context)
        )

    @cached_property
    def progress(self) -> Progress:
        """A bar on a terminal, log lines elsewhere, and the ``progress`` file where there is a control directory."""
        return Everybody(self._listeners)

    def report(self, step: str, message: str = "") -> None:
        """Tells the control plane of a step, where it asked for that: one word, and more of it in words."""
        if self.configuration.report_url:
            self._reporter.say(step, message)

    @cached_property
    def _reporter(self) -> Reporter:
        from copilot.telemetry.report import Reporter  # noqa: PLC0415 - only where somebody wants to know

        told = self.configuration
        return Reporter(told.report_url, told.report_token, log=self.log, mask=self.redactor.mask)

    @cached_property
    def _listeners(self) -> Sequence[Count]:
        listeners: list[Count] = []
        if sys.stderr.isatty() and self.speaks_to_people and self.configuration.log.level in {"info", "warning"}:
            from copilot.telemetry.bar import BarProgress  # noqa: PLC0415 - rich, on a terminal only

            self._terminal.bar = BarProgress(self.clock)
            listeners.append(self._terminal.bar)
        else:
            listeners.append(LogProgress(self.log, self.clock))
        if self.configuration.control_dir is not None:
            listeners.append(FileProgress(self.configuration.control_dir / "progress", self.clock))
        return listeners

    @cached_property
    def stores(self) -> Stores:
        """Every store there is, opened when first used."""
        from copilot.stores.registry import open_stores  # noqa: PLC0415 - not every command needs stores

        return open_stores(self.configuration.stores)

    @cached_property
    def transfer(self) -> Transfer:
        """The engine over these stores."""
        from copilot.engine.budget import Limits  # noqa: PLC0415 - as stores
        from copilot.engine.transfer import Transfer  # noqa: PLC0415 - as stores

        limits = Limits.detect()
        if self.configuration.max_workers is not None:
            limits = replace(limits, max_workers=self.configuration.max_workers)
        if self.configuration.memory_bytes is not None:
            limits = replace(limits, memory_bytes=self.configuration.memory_bytes)
        limits = replace(limits, read_twice=self.configuration.read_twice)
        if self.configuration.part_bytes is not None:
            limits = replace(limits, part_bytes=self.configuration.part_bytes)
        if self.patience_s is not None:
            retry = replace(limits.retry, deadline_s=self.patience_s, first_contact_s=self.patience_s)
            limits = replace(limits, retry=retry)
        return Transfer(self.stores, limits=limits, clock=self.clock, log=self.log, progress=self.progress)

    def token(self, *, timeout_s: float | None = None, budget: str = "the time given for this") -> Token:
        """A reason to stop: any signal, or the time. A timeout of zero is none."""
        return Token(self.clock, timeout_s=timeout_s or None, latch=self.latch, budget=budget)

    def leave_reason(self, exception: BaseException, *, code: str, prefix: str, beside: bool = False) -> Outcome:
        """Leaves the termination message, then the error document of ``exception`` below ``prefix``; gives what it comes to.

        The document is written once; with ``beside`` one that is there and says more stays. The message costs nothing, and so
        comes first: SIGKILL may come while a store is waited for.
        """
        from copilot.cli import outcome  # noqa: PLC0415 - only a failure needs it

        settings = self.configuration
        end = outcome.outcome_of(
            outcome.masked(outcome.as_copilot_error(exception), self.redactor.mask),
            failure_exit_code=settings.failure_exit_code,
            signal_number=self.latch.received,
        )
        if code:
            create = str(settings.termination_log) != config.values.TERMINATION_LOG
            outcome.write_termination_message(settings.termination_log, end.message(), create=create)
        # Whoever asks a second time to stop wants no more of it.
        if code and prefix and not self._document_left and not self.latch.again:
            self._document_left = True
            outcome.write_error_document(
                end,
                code=code,
                prefix=prefix,
                err_output_name=settings.err_output_name,
                transfer=self.transfer,
                cancel=Token(
                    self.clock, timeout_s=ERROR_DOCUMENT_S, parent=self.last_words, budget="the time for the error document"
                ),
                log=self.log,
                beside=beside,
            )
        return end

    def fail(self, exception: BaseException, *, code: str = "", prefix: str = "") -> int:
        """Tells the world of ``exception`` in every way there is; gives the exit code.

        Args:
            exception: what went wrong.
            code: ``ContainerError.code``; empty for commands that leave no error document.
            prefix: where the error document goes; empty for nowhere.
        """
        from copilot.cli import outcome  # noqa: PLC0415 - only a failure needs it

        end = self.leave_reason(exception, code=code, prefix=prefix, beside=self.command == "sidecar")
        if code and (step := FAILED_STEPS.get(self.command)):
            self.report(step, end.message())
        self.clear_progress()
        outcome.tell(end, self.log, during=self.command)
        self.close()
        return end.exit_code

    def close(self) -> None:
        """Takes a bar off the terminal, writes the last numbers, sends the last report, closes the log file.

        Harmless when called again.
        """
        self.clear_progress()
        if self.configuration.report_url:
            self._reporter.close()
        if self._log_stream is not None:
            self._log_stream.close()

    def clear_progress(self) -> None:
        """Takes a bar off the terminal, for the output of others; it comes back when more moves."""
        for listener in self.__dict__.get("_listeners", ()):
            listener.close()


def open_session(
    given: Mapping[str, Sequence[str]], environ: Mapping[str, str], latch: Latch, *, command: str, drop_in: bool
) -> Session:
    """Reads the configuration and opens a session. Pods keep a record of what went on; people are told what they must know.

    Args:
        given: the global flags, each with every value given.
        environ: the environment.
        latch: remembers signals.
        command: the sub-command; ``POD_COMMANDS`` tell events from level info, the others from warning.
        drop_in: whether we go by the reference's name.

    Raises:
        UsageError: the configuration cannot be used.
        LocalError: the log file cannot be written.
    """
    level = "info" if command in POD_COMMANDS else "warning"
    return Session(config.load(given, environ, drop_in=drop_in, default_level=level), latch, command=command)
