"""``copilot exec``: runs a command as a container's first process should.

All signals are blocked from the first line on and taken one at a time, so none is lost and none interrupts anything: SIGCHLD
reaps, whatever asks to stop is passed on to the command's process group. When the command has ended, what is left of its
group is killed, as the end of a container would.
"""

from __future__ import annotations

import os
import signal
import time

from copilot.wrapper import control, memory, options, secrets
from copilot.wrapper.streams import Streams

USAGE_ERROR = 2
CANNOT_WRITE = 22
TIMED_OUT = 124
CANNOT_RUN = 126
NOT_FOUND = 127
BY_SIGNAL = 128

_LONGEST_WAIT_S = 86_400.0  # the kernel takes no time beyond its own range

_STOPPING = {signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP}
_PASSED_ON = _STOPPING | {
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGALRM,
    signal.SIGWINCH,
    signal.SIGCONT,
    signal.SIGTSTP,
    *range(signal.SIGRTMIN, signal.SIGRTMAX + 1),
}


def main(arguments: list[str], environ: dict[str, str]) -> int:
    """Runs the command that ``arguments`` (after ``exec``) name; gives the exit code. Never raises.

    Args:
        arguments: flags, ``--``, the command.
        environ: our own environment; the command gets the one we were started with.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _PASSED_ON | {signal.SIGCHLD})
    try:
        asked = options.read(arguments)
    except options.Mistake as mistake:
        _say(str(mistake))
        return USAGE_ERROR
    if asked.help:
        return _help()
    directory = asked.control_dir or environ.get("COPILOT_CONTROL_DIR", "")
    held = -1
    if directory:
        try:
            held = control.begin(directory)
        except OSError as error:
            _say(f"the control directory {directory} cannot be written: {error.strerror}.")
            return CANNOT_WRITE
    environ_of_command = _environment()  # first: with secrets in memory, /proc/self is closed to us
    handed, ending = _hand(asked, directory, environ)
    if handed.anything:
        environ_of_command.update(handed.variables)
        if ending is None and not (directory or handed.lent or asked.attended):
            return _become(asked.command, environ_of_command, before)
    if ending is None:
        ending = _run(asked, before, environ_of_command, handed)
    if directory:
        try:
            control.finish(directory, ending)
        except OSError as error:
            # The task is over and its exit code is still told by our own end; the sidecar sees that the lock is gone.
            _say(f"{directory}/{control.EXITCODE} cannot be written: {error.strerror}.")
        os.close(held)
    handed.close()
    return ending.code


def _hand(asked: options.Options, directory: str, environ: dict[str, str]) -> tuple[secrets.Handed, control.Ending | None]:
    """The command's secrets, and how it ended where it must not begin without them."""
    handed = secrets.Handed()
    try:
        handed.read(directory)
        handed.resolve(environ, asked.env, _STOPPING)
    except secrets.Refused as refused:
        if refused.sentence:
            _say(refused.sentence)
        ending = control.Ending()
        ending.started_at_s = ending.ended_at_s = time.time()
        ending.code = refused.code
        return handed, ending
    return handed, None


def _become(command: list[str], environ: dict[bytes, bytes], mask: set[signal.Signals] | set[int]) -> int:
    """This process becomes the command: nobody has to tell how it ends. Gives an exit code only where it cannot."""
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and what is ignored stays so in the command
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    try:
        os.execvpe(command[0], command, environ)  # noqa: S606 - to run what we were given is the purpose
    except (OSError, ValueError) as error:
        return _cannot_run(command, error)


def _run(
    asked: options.Options, mask: set[signal.Signals] | set[int], environ: dict[bytes, bytes], handed: secrets.Handed
) -> control.Ending:
    ending = control.Ending()
    ending.started_at_s, began_s = time.time(), time.monotonic()
    kills = memory.oom_kills()
    streams = Streams(handed.mask, handed.news)
    try:
        _redirect(streams, asked)
    except OSError as error:
        _say(f"{error.filename} cannot be written: {error.strerror}.")
        ending.code = CANNOT_WRITE
    else:
        try:
            pid = _spawn(asked.command, streams, mask, environ)
        except (OSError, ValueError) as error:
            ending.code = _cannot_run(asked.command, error)
        else:
            streams.started()
            _attend(pid, asked, ending)
            streams.finish()
    ending.ended_at_s, ending.seconds = time.time(), time.monotonic() - began_s
    ending.oom_kills = max(0, memory.oom_kills() - kills)
    if streams.broken is not None:
        _say(f"the command's output could not be kept whole: {streams.broken.strerror}.")
        ending.code = ending.code or CANNOT_WRITE
    return ending


def _redirect(streams: Streams, asked: options.Options) -> None:
    if asked.tee:
        streams.to_both(1, f"{asked.tee}/stdout")
        streams.to_both(2, f"{asked.tee}/stderr")
    if asked.stdout:
        streams.to_file(1, asked.stdout)
    if asked.stderr:
        streams.to_file(2, asked.stderr)


def _spawn(command: list[str], streams: Streams, mask: set[signal.Signals] | set[int], environ: dict[bytes, bytes]) -> int:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # an inherited "ignore" would reap before we can ask for the exit code
    # Python ignores these two for itself; a command expects to be ended by them.
    defaults = [signal.SIGPIPE, signal.SIGXFSZ]
    pid = os.posix_spawnp(
        command[0],
        command,
        environ,
        file_actions=streams.actions,
        setpgroup=0,
        setsigmask=mask,
        setsigdef=defaults,
    )
    if _give_terminal(pid):
        # It may have read before it was its own, and been stopped for that.
        _send(pid, signal.SIGCONT)
    return pid


def _environment() -> dict[bytes, bytes]:
    """As we were given it: the interpreter adds LC_CTYPE for itself in a C locale, and the task should not see that."""
    environ = dict(os.environb)
    if b"LC_CTYPE" in environ:
        try:
            with open("/proc/self/environ", "rb") as original:  # noqa: PTH123 - pathlib would cost more than the start
                given = original.read().split(b"\0")
        except OSError:
            return environ
        if not any(entry.startswith(b"LC_CTYPE=") for entry in given):
            del environ[b"LC_CTYPE"]
    return environ


def _give_terminal(group: int) -> bool:
    """On a terminal that is ours, the command's group is the one that reads from it; whether it is so."""
    try:
        if not os.isatty(0) or os.tcgetpgrp(0) != os.getpgrp():
            return False
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)
        os.tcsetpgrp(0, group)
    except OSError:
        return False
    return True


def _take_terminal(group: int) -> None:
    """Who started us may read from it again: a script's next command, say."""
    try:
        if os.isatty(0) and os.tcgetpgrp(0) == group:
            os.tcsetpgrp(0, os.getpgrp())
    except OSError:
        return


def _attend(pid: int, asked: options.Options, ending: control.Ending) -> None:
    """Passes signals on and reaps, until the command has ended."""
    waited = _PASSED_ON | {signal.SIGCHLD}
    until_s = None if asked.timeout_s is None else time.monotonic() + asked.timeout_s
    while not _ended(pid):
        left_s = None if until_s is None else max(0.0, until_s - time.monotonic())
        told = signal.sigwaitinfo(waited) if left_s is None else signal.sigtimedwait(waited, min(left_s, _LONGEST_WAIT_S))
        if told is None:
            if left_s is not None and left_s > _LONGEST_WAIT_S:
                continue
            _send(pid, signal.SIGKILL if ending.timed_out else signal.SIGTERM)
            until_s = None if ending.timed_out else time.monotonic() + asked.grace_s
            ending.timed_out = True
        elif told.si_signo == signal.SIGCHLD:
            _reap_orphans(pid)
        elif not _ended(pid):
            if told.si_signo in _STOPPING and not ending.stop_signal:
                ending.stop_signal = told.si_signo
            _send(pid, told.si_signo)
    _take_terminal(pid)
    _send(pid, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    ending.signal = max(0, -code)
    ending.code = TIMED_OUT if ending.timed_out else BY_SIGNAL - code if code < 0 else code


def _ended(pid: int) -> bool:
    """Whether the command is over; it stays unreaped, so that its group's number stays its own."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _reap_orphans(pid: int) -> None:
    """As the first process of a container we inherit whatever its processes leave behind."""
    while True:
        try:
            told = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if told is None or told.si_pid == pid:
            # The command's own end waits at the head of the queue: orphans behind it go with the container.
            return
        os.waitpid(told.si_pid, os.WNOHANG)


def _send(group: int, number: int) -> None:
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return


def _cannot_run(command: list[str], error: OSError | ValueError) -> int:
    """Says so; gives the exit code that a shell has for it."""
    why = error.strerror if isinstance(error, OSError) else "a command has a name"
    _say(f"the command {command[0] or repr('')} cannot be run: {why}.")
    return NOT_FOUND if isinstance(error, FileNotFoundError | ValueError) else CANNOT_RUN


def _help() -> int:
    try:
        os.write(1, options.USAGE.encode())
    except OSError:
        return CANNOT_WRITE
    return 0


def _say(sentence: str) -> None:
    try:
        os.write(2, f"copilot exec: {sentence}\n".encode(errors="backslashreplace"))
    except OSError:  # nobody is there to read it, which is no reason to end otherwise
        return
