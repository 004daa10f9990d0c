"""Makes the reference parts of docs/ from code, between ``<!-- made: NAME -->`` and ``<!-- end -->``.

``--check`` writes nothing and ends with 1 where a page is not what the code says.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click

from copilot.cli import people
from copilot.cli.arguments import flags
from copilot.cli.explaining.reasons import EXIT_CODES, reasons
from copilot.cli.explaining.run_codes import RUN_CODES
from copilot.core.completion import table_lines
from copilot.core.podfiles import PROTOCOL

DOCS = Path(__file__).parent.parent / "docs"
MADE = re.compile(r"(<!-- made: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def table(heads: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def reason_codes() -> str:
    rows = [
        [f"`{one.code}`", one.cause.replace("``", "`"), one.cure, str(one.exit_code), one.fault, "yes" if one.retried else "no"]
        for one in reasons().values()
    ]
    return table(["reason", "what happened", "what to do", "exit code", "whose", "tried again"], rows)


def run_codes() -> str:
    rows = [[f"`{code}`", one.cause, one.cure, one.budget or "none"] for code, one in RUN_CODES.items()]
    return table(["code", "what happened", "what to do", "retries of"], rows)


def exit_codes() -> str:
    return table(["exit code", "meaning"], [[str(code), words] for code, words in EXIT_CODES.items()])


def protocol() -> str:
    rows = [[f"`{file.name}`", file.place, file.writer, file.reader, file.when, file.appears] for file in PROTOCOL]
    return table(["file", "where", "written by", "read by", "when", "how it appears"], rows)


def commands() -> str:
    parts = []
    root = people.group()
    for name in sorted(people.COMMANDS):
        command = root.commands.get(name) or root.get_command(click.Context(root), name)
        if command is None:
            raise LookupError(name)
        parts += [f"### copilot {path}\n\n```text\n{help_of(inner, path)}\n```\n" for path, inner in walk(name, command)]
    return "\n".join(parts)


def walk(path: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        for name, inner in sorted(command.commands.items()):
            yield from walk(f"{path} {name}", inner)


def help_of(command: click.Command, path: str) -> str:
    context = click.Context(command, info_name=f"copilot {path}", max_content_width=100, terminal_width=100)
    context.help_option_names = ["-h", "--help"]
    return command.get_help(context).rstrip()


def global_flags() -> str:
    shown = [flag for flag in (*flags.OURS, *flags.REFERENCE) if flag.help]
    rows = [
        [", ".join(f"`--{name}`" for name in (flag.name, *flag.aliases)), flag.metavar, flag.help, ", ".join(flag.choices)]
        for flag in shown
    ]
    return table(["flag", "value", "what it does", "one of"], rows)


def ignored_flags() -> str:
    return ", ".join(f"`--{flag.name}`" for flag in (*flags.IGNORED, *flags.KLOG)) + "\n"


def truth_table() -> str:
    return "\n".join(table_lines()) + "\n"


PARTS: dict[str, Callable[[], str]] = {
    "commands": commands,
    "exit-codes": exit_codes,
    "global-flags": global_flags,
    "ignored-flags": ignored_flags,
    "protocol": protocol,
    "reason-codes": reason_codes,
    "run-codes": run_codes,
    "truth-table": truth_table,
}


def made(text: str) -> str:
    """``text`` with every made part made anew."""
    return MADE.sub(lambda match: f"{match[1]}{PARTS[match[2]]()}{match[3]}" if match[2] in PARTS else match[0], text)


def stale(write: bool) -> list[Path]:  # noqa: FBT001 - the one flag there is
    """The pages that are not what the code says; written anew if ``write``."""
    found = []
    for page in sorted(DOCS.glob("*.md")):
        text = page.read_text()
        anew = made(text)
        if anew != text:
            found.append(page)
            if write:
                page.write_text(anew)
    return found


if __name__ == "__main__":
    check = "--check" in sys.argv[1:]
    pages = stale(write=not check)
    for changed in pages:
        print(f"{'stale' if check else 'written'}: docs/{changed.name}")
    sys.exit(1 if check and pages else 0)
