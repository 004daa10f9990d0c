"""The command line for people, on click: commands are loaded when they are used, never for ``--help``."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import click
from click.shell_completion import CompletionItem

from copilot import __version__
from copilot.cli.arguments import flags
from copilot.cli.session import Session, open_session
from copilot.config import Configuration
from copilot.config.nearest import did_you_mean
from copilot.core.errors import BadFlag, CopilotError

if TYPE_CHECKING:
    from copilot.cli.arguments.pflag import Flag
    from copilot.cli.session import Latch

#: Every command: where it is, and its line in the list. A module has a ``command`` of click.
COMMANDS: Final[Mapping[str, tuple[str, str]]] = {
    "abort": ("copilot.cli.remote.abort:command", "Abort a run on a server."),
    "completion": ("copilot.cli.completion:command", "Print the completion script of a shell."),
    "config": ("copilot.cli.config_show:command", "Print the effective configuration, without secrets."),
    "describe": ("copilot.cli.remote.describe:command", "Say everything of a run on a server."),
    "doctor": ("copilot.cli.remote.doctor:command", "Check a server, and say what to mend."),
    "download": ("copilot.cli.pods.help:download", "Stage inputs, with the reference's own flags."),
    "exec": ("copilot.cli.light:exec_command", "Run a task's command, and tell the sidecar how it ended."),
    "explain": ("copilot.cli.explaining.explain:command", "Say what became of a run, or what a reason code means."),
    "init": ("copilot.cli.pods.help:init", "Stage typed inputs into a directory."),
    "install": ("copilot.cli.platform.install:command", "Copy copilot exec where any image can run it."),
    "keys": ("copilot.cli.platform.keys:command", "List the keys of a server's own secrets, or rotate them."),
    "logs": ("copilot.cli.remote.logs:command", "Print a run's log."),
    "outputs": ("copilot.cli.remote.outputs:command", "Print a run's outputs."),
    "plan": ("copilot.cli.pods.help:plan", "Print what init, download or sidecar would do."),
    "probe": ("copilot.cli.light:probe_command", "Ask whether the sidecar handles SIGTERM yet."),
    "projects": ("copilot.cli.remote.projects:command", "List a server's projects, or make one."),
    "run": ("copilot.cli.staging.run:command", "Stage inputs, run a command, publish its outputs."),
    "runs": ("copilot.cli.remote.runs:command", "List a server's runs."),
    "secrets": ("copilot.cli.secrets:command", "Read secrets, render them, or run a command with them."),
    "server": ("copilot.cli.platform.server:command", "Run a control plane for Flyte's SDK and command line."),
    "show": ("copilot.cli.staging.show:command", "Print inputs.pb, outputs.pb or an error document."),
    "sidecar": ("copilot.cli.pods.help:sidecar", "Publish a task's outputs once it has ended."),
    "stores": ("copilot.cli.staging.stores:command", "List the schemes of URIs and whether each can be opened."),
    "submit": ("copilot.cli.remote.submit:command", "Submit a container task to a server."),
    "tokens": ("copilot.cli.platform.tokens:command", "Make, list and revoke a server's bearer tokens."),
    "version": ("copilot.cli.version:command", "Print the version."),
    "wait": ("copilot.cli.remote.wait:command", "Wait for a run's end; the exit code is the run's."),
    "wrap": ("copilot.cli.platform.wrap:command", "Add Copilot to anybody's Kubernetes manifest."),
}


@dataclass(slots=True)
class Invocation:
    """What travels from the process to a command.

    Attributes:
        latch: remembers signals.
        environ: the environment.
        drop_in: whether we go by the reference's name.
        flags: the global flags given so far, before and after the command's name.
        command: the command's name.
    """

    latch: Latch
    environ: Mapping[str, str]
    drop_in: bool = False
    flags: dict[str, list[str]] = field(default_factory=dict)
    command: str = ""

    def open(self) -> Session:
        """The session of these flags.

        Raises:
            UsageError: the configuration cannot be used.
            LocalError: the log file cannot be written.
        """
        return open_session(self.flags, self.environ, self.latch, command=self.command, drop_in=self.drop_in)


def _collect(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def callback(context: click.Context, _parameter: click.Parameter, value: Any) -> None:  # noqa: ANN401 - click's signature
        invocation = context.find_object(Invocation)
        if invocation is None or value is None or value == () or value is False:
            return
        values = list(map(str, value)) if isinstance(value, tuple) else ["true" if value is True else str(value)]
        invocation.flags.setdefault(name, []).extend(values)

    return callback


#: What a shell completes for a value that its help calls so.
_COMPLETES: Final = {"DIR": "dir", "FILE": "file", "GLOB": "file", "PATH": "file", "URI": "file"}

Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def completer(metavar: str) -> Completer | None:
    """What completes a value called ``metavar``: files, directories, or nothing."""
    kind = _COMPLETES.get(metavar)
    return None if kind is None else lambda _context, _parameter, incomplete: [CompletionItem(incomplete, type=kind)]


def option(flag: Flag, *, hidden: bool = False) -> click.Option:
    """``flag`` as click has it, kept among the invocation's global flags."""
    names = [f"--{name}" for name in (flag.name, *flag.aliases)] + ([f"-{flag.short}"] if flag.short else [])
    kind: click.ParamType[str] = click.Choice(flag.choices) if flag.choices else click.STRING
    return click.Option(
        [*names, f"flag_{flag.name.replace('.', '_').replace('-', '_')}"],
        help=flag.help,
        metavar=flag.metavar or None,
        is_flag=flag.is_switch,
        default=None if not flag.repeats else (),
        type=None if flag.is_switch else kind,
        multiple=flag.repeats,
        hidden=hidden or not flag.help,
        shell_complete=completer(flag.metavar),
        expose_value=False,
        callback=_collect(flag.name),
    )


class PeopleCommand(click.Command):
    """A command that also takes every global flag, after its name; its help ends with an example."""

    def __init__(self, *arguments: Any, example: str = "", **keywords: Any) -> None:  # noqa: ANN401 - click's signature
        """As ``click.Command``."""
        keywords.setdefault("epilog", f"\b\nExample:\n  {example}" if example else None)
        super().__init__(*arguments, **keywords)
        self.params.extend(option(flag, hidden=True) for flag in (*flags.OURS, *flags.REFERENCE))


class LazyGroup(click.Group):
    """Loads a command's module when the command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """By name."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """Imports it."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """As click's, with the nearest name for a wrong one."""
        name = args[0]
        if name not in COMMANDS:
            hint = did_you_mean(name, COMMANDS) or "See copilot --help for the commands there are."
            raise BadFlag(f"there is no command {name!r}", op="flags", subject=name, hint=hint)
        invocation = ctx.find_object(Invocation)
        if invocation is not None:
            invocation.command = name
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        """The list, without importing a command."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in sorted(COMMANDS.items())])


_HELP: Final = """Carry a task's data in and out of its pod.

Stages typed inputs from any store, publishes typed outputs, and says why when it cannot. Global flags may stand before or
after a command's name.
"""


def group() -> LazyGroup:
    """The root command."""
    return LazyGroup(
        name="copilot",
        help=_HELP,
        params=[option(flag) for flag in (*flags.OURS, *flags.REFERENCE, *flags.IGNORED)],
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
        epilog="\b\nExample:\n  copilot run --input n=5 --output stdout:str --outputs ./out -- sh -c 'expr {{.inputs.n}} + 1'",
    )


def run(arguments: Sequence[str], latch: Latch, environ: Mapping[str, str], *, drop_in: bool) -> int:
    """Runs one command; gives the exit code. Never raises but ``BrokenPipeError``."""
    if arguments and arguments[0] == "--version":
        sys.stdout.write(f"copilot {__version__}\n")
        return 0
    invocation = Invocation(latch, environ, drop_in)
    try:
        ended = group().main(args=list(arguments), prog_name="copilot", standalone_mode=False, obj=invocation)
    except SystemExit as error:  # click's answer to a closed pipe, its only one
        raise BrokenPipeError from error
    except BrokenPipeError:
        raise
    except click.exceptions.NoArgsIsHelpError as error:
        sys.stdout.write(error.format_message() + "\n")
        return 0 if not drop_in else 137
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.ClickException as error:
        return _fail(invocation, _usage(error))
    except click.Abort:
        return _fail(invocation, KeyboardInterrupt())
    except BaseException as exception:  # noqa: BLE001 - the single place where every exception ends
        return _fail(invocation, exception)
    return int(ended or 0)


def _usage(error: click.ClickException) -> CopilotError:
    message = " ".join(error.format_message().split()).rstrip(".")
    hint = "See --help for the flags there are."
    if isinstance(error, click.NoSuchOption):
        near = did_you_mean(error.option_name, error.possibilities or ())
        return BadFlag(f"there is no flag {error.option_name}", op="flags", subject=error.option_name, hint=near or hint)
    return BadFlag(message, op="flags", hint=hint)


def _fail(invocation: Invocation, exception: BaseException) -> int:
    try:
        session = invocation.open()
    except CopilotError:
        failure_exit_code = 137 if invocation.drop_in else None
        session = Session(Configuration(failure_exit_code=failure_exit_code), invocation.latch, command=invocation.command)
    return session.fail(exception)
