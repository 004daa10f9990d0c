"""The arguments of ``copilot exec``, read by hand: a parser library would cost more than everything else here."""

from __future__ import annotations

DEFAULT_GRACE_S = 10.0

USAGE = """Usage: copilot exec [OPTIONS] -- COMMAND [ARGUMENT]...

  Run COMMAND in a process group of its own, pass signals on to it, and end with its exit code (128 and the signal's number
  where a signal ended it). The control directory gets the file exitcode, which tells the sidecar how the task ended.

  Variables that are references to secrets (DB_PASSWORD=aws://prod/db#password) are resolved first, and what copilot init
  delivered as variables is there as well. Where no exit code is to be kept, this process then becomes COMMAND.

Options:
  --env NAME=REF      A secret as a variable, for COMMAND alone; may be repeated.
  --control-dir DIR   Where exitcode is written. Default: $COPILOT_CONTROL_DIR; without either, none is.
  --timeout DURATION  End the command after this time (90s, 1h30m, 1.5h): SIGTERM, the grace, SIGKILL; exit code 124.
  --grace DURATION    Time between the timeout's SIGTERM and SIGKILL. Default: 10s.
  --tee DIR           Keep standard output and error as DIR/stdout and DIR/stderr, and pass both on.
  --stdout FILE       Write standard output to FILE, and do not pass it on.
  --stderr FILE       Write standard error to FILE, and do not pass it on.
  -h, --help          This text.

Example:
  copilot exec --timeout 2h -- python train.py
"""

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


class Mistake(Exception):
    """A sentence about the arguments."""


class Options:
    """What was asked for.

    Attributes:
        command: the command and its arguments; empty when only the help was wanted.
        env: ``NAME=REFERENCE``, each a secret.
        control_dir: where ``exitcode`` goes; empty for nowhere.
        timeout_s: seconds until the command is ended; None for no limit.
        grace_s: seconds between SIGTERM and SIGKILL then.
        tee: a directory for ``stdout`` and ``stderr``; empty for none.
        stdout: a file; empty for none.
        stderr: a file; empty for none.
        help: the help was asked for.
    """

    __slots__ = ("command", "control_dir", "env", "grace_s", "help", "stderr", "stdout", "tee", "timeout_s")

    def __init__(self) -> None:
        """The defaults."""
        self.command: list[str] = []
        self.env: list[str] = []
        self.control_dir = ""
        self.timeout_s: float | None = None
        self.grace_s = DEFAULT_GRACE_S
        self.tee = ""
        self.stdout = ""
        self.stderr = ""
        self.help = False

    @property
    def attended(self) -> bool:
        """Whether somebody must stay beside the command: for its time, or for its output."""
        return self.timeout_s is not None or bool(self.tee or self.stdout or self.stderr)


def read(arguments: list[str]) -> Options:
    """What ``arguments`` (after ``exec``) ask for.

    Raises:
        Mistake: they cannot be understood.
    """
    options, index = Options(), 0
    while index < len(arguments) and arguments[index] != "--" and arguments[index].startswith("-"):
        name, equals, value = arguments[index].partition("=")
        index += 1
        if name in {"-h", "--help"}:
            options.help = True
            return options
        if name not in _TAKES:
            raise Mistake(f"there is no flag {name}. See copilot exec --help.")
        if not equals:
            if index == len(arguments):
                raise Mistake(f"{name} needs a value.")
            value = arguments[index]
            index += 1
        _TAKES[name](options, value)
    options.command = arguments[index + 1 :] if index < len(arguments) and arguments[index] == "--" else arguments[index:]
    if not options.command:
        raise Mistake("there is no command to run. Write it after --.")
    if options.tee and (options.stdout or options.stderr):
        raise Mistake("--tee keeps both streams already: leave --stdout and --stderr out.")
    return options


def duration_s(text: str, flag: str) -> float:
    """Seconds of a duration like ``90s``, ``1h30m`` or ``1.5h``; a number alone is seconds.

    Raises:
        Mistake: it is none.
    """
    total, rest = 0.0, text
    try:
        while rest:
            number = rest[: len(rest) - len(rest.lstrip("0123456789."))]
            rest = rest[len(number) :]
            unit = rest[: len(rest) - len(rest.lstrip("hms"))] if rest else "s" if number == text else ""
            rest = rest[len(unit) :]
            total += float(number) * _UNITS[unit]
    except (KeyError, ValueError):
        text = ""
    if not text:
        raise Mistake(f"{flag} is no duration. Write it like 90s, 1h30m or 1.5h.")
    return total


def _env(options: Options, value: str) -> None:
    options.env.append(value)


def _control_dir(options: Options, value: str) -> None:
    options.control_dir = value


def _timeout(options: Options, value: str) -> None:
    options.timeout_s = duration_s(value, "--timeout") or None


def _grace(options: Options, value: str) -> None:
    options.grace_s = duration_s(value, "--grace")


def _tee(options: Options, value: str) -> None:
    options.tee = value


def _stdout(options: Options, value: str) -> None:
    options.stdout = value


def _stderr(options: Options, value: str) -> None:
    options.stderr = value


_TAKES = {
    "--env": _env,
    "--control-dir": _control_dir,
    "--timeout": _timeout,
    "--grace": _grace,
    "--tee": _tee,
    "--stdout": _stdout,
    "--stderr": _stderr,
}
