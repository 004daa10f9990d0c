"""Reads arguments as the reference's command line does (Go's pflag under cobra): a pure function over a table of flags.

``--name value``, ``--name=value``, ``-n value``, ``-nvalue``, ``-n=value``, short switches in clusters (``-sq``); a switch
takes a value only with ``=``; every flag may stand before or after the sub-command, and may repeat; ``--`` ends the flags.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from copilot.core.errors import BadFlag


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag.

    Attributes:
        name: without dashes.
        help: one sentence for people; empty hides the flag: it is known to the reference and has no effect here.
        short: one letter, or empty.
        metavar: what the value is called; empty for a switch.
        default: what holds without it, for the help.
        choices: the values it takes; empty for any.
        aliases: further long names, of ours.
        repeats: every value counts, not only the last.
        secret: its value never appears in a message.
    """

    name: str
    help: str = ""
    short: str = ""
    metavar: str = ""
    default: str = ""
    choices: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    repeats: bool = False
    secret: bool = False

    @property
    def is_switch(self) -> bool:
        """Whether it stands alone."""
        return not self.metavar


@dataclass(slots=True)
class Parsed:
    """What was read.

    Attributes:
        values: every value of each flag, in order; a switch has ``true`` or ``false``.
        arguments: what is no flag, in order.
        rest: everything after ``--``.
        mistake: the first argument that could not be understood; reading went on after it.
    """

    values: dict[str, list[str]] = field(default_factory=dict)
    arguments: list[str] = field(default_factory=list)
    rest: list[str] = field(default_factory=list)
    mistake: BadFlag | None = None

    def last(self, name: str, default: str = "") -> str:
        """The value that counts."""
        values = self.values.get(name)
        return values[-1] if values else default

    def given(self, name: str) -> bool:
        """Whether it stands there at all."""
        return name in self.values


class Table:
    """Flags by their names."""

    def __init__(self, flags: Iterable[Flag]) -> None:
        self.long: dict[str, Flag] = {}
        self.short: dict[str, Flag] = {}
        for flag in flags:
            for name in (flag.name, *flag.aliases):
                self.long.setdefault(name, flag)
            if flag.short:
                self.short.setdefault(flag.short, flag)


def command_index(argv: Sequence[str], table: Table) -> int:
    """Where the sub-command stands: the first argument that is no flag and no flag's value; -1 without one.

    A short or unknown flag without ``=`` is taken to have a value, as cobra takes it; a known switch has none.
    """
    index = 0
    while index < len(argv):
        argument = argv[index]
        if argument == "--":
            return -1
        if not argument.startswith("-") or argument == "-":
            return index
        takes_next = "=" not in argument
        if argument.startswith("--"):
            flag = table.long.get(argument[2:])
            takes_next = takes_next and not (flag and flag.is_switch)
        else:
            flag = table.short.get(argument[1])
            takes_next = takes_next and len(argument) == 2 and not (flag and flag.is_switch)  # noqa: PLR2004 - dash and letter
        index += 2 if takes_next else 1
    return -1


def parse(argv: Sequence[str], table: Table) -> Parsed:
    """All of ``argv``. Never raises: the first mistake is kept, so that the flags around it can still be used to report it."""
    parsed = Parsed()
    index = 0
    while index < len(argv):
        argument = argv[index]
        index += 1
        if argument == "--":
            parsed.rest = list(argv[index:])
            break
        if not argument.startswith("-") or argument == "-":
            parsed.arguments.append(argument)
            continue
        following = argv[index] if index < len(argv) else None
        try:
            read = _long if argument.startswith("--") else _short
            index += read(argument, following, table, parsed)
        except BadFlag as mistake:
            parsed.mistake = parsed.mistake or mistake
    return parsed


def _long(argument: str, following: str | None, table: Table, parsed: Parsed) -> int:
    name, equals, value = argument[2:].partition("=")
    flag = table.long.get(name)
    if flag is None:
        raise unknown(f"--{name}", [f"--{known}" for known in table.long])
    if equals:
        return _keep(parsed, flag, value, used_next=False)
    if flag.is_switch:
        return _keep(parsed, flag, "true", used_next=False)
    if following is None:
        raise _without_value(f"--{name}")
    return _keep(parsed, flag, following, used_next=True)


def _short(argument: str, following: str | None, table: Table, parsed: Parsed) -> int:
    letters = argument[1:]
    for position, letter in enumerate(letters):
        flag = table.short.get(letter)
        if flag is None:
            raise unknown(f"-{letter}", [f"-{known}" for known in table.short])
        after = letters[position + 1 :]
        if after.startswith("="):
            return _keep(parsed, flag, after[1:], used_next=False)
        if flag.is_switch:
            _keep(parsed, flag, "true", used_next=False)
            continue
        if after:
            return _keep(parsed, flag, after, used_next=False)
        if following is None:
            raise _without_value(f"-{letter}")
        return _keep(parsed, flag, following, used_next=True)
    return 0


def _keep(parsed: Parsed, flag: Flag, value: str, *, used_next: bool) -> int:
    parsed.values.setdefault(flag.name, []).append(value)
    return int(used_next)


def check_choices(flags: Iterable[Flag], parsed: Parsed) -> None:
    """Whether every value is one of those its flag takes.

    Raises:
        BadFlag: one is not.
    """
    for flag in flags:
        value = parsed.last(flag.name)
        if flag.choices and value and value not in flag.choices:
            from copilot.config.nearest import did_you_mean  # noqa: PLC0415 - only for a mistake

            words = f"It is one of {', '.join(flag.choices)}. {did_you_mean(value, flag.choices)}".rstrip()
            raise BadFlag(f"--{flag.name} is {value!r}", op="flags", subject=f"--{flag.name}", hint=words)


def unknown(name: str, known: Iterable[str]) -> BadFlag:
    """The error for a flag nobody knows, with the nearest that is known."""
    from copilot.config.nearest import did_you_mean  # noqa: PLC0415 - only for a mistake

    hint = did_you_mean(name, known) or "See --help for the flags there are."
    return BadFlag(f"there is no flag {name}", op="flags", subject=name, hint=hint)


def _without_value(name: str) -> BadFlag:
    return BadFlag(f"the flag {name} needs a value", op="flags", subject=name, hint=f"Write it as {name} VALUE.")
