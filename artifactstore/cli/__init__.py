"""The command line: the only part of the package that prints.

`main` is light; the commands, and typer with them, are imported when one runs.
"""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command that the arguments of the process name.

    Returns:
        The exit code, see `artifactstore.cli.exit_codes`.
    Raises:
        SystemExit: a signal, or the reader of the output, ended the command.
    """
    arguments = sys.argv[1:]
    if arguments in (["version"], ["--version"]):
        return _version()
    _end_in_good_order()
    from artifactstore.cli.application import run

    return run(arguments)


def _end_in_good_order() -> None:
    """Let signals end the process by an exception: a push or an export that is told to stop cleans up."""
    import signal

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # What is ignored, as in a job that `nohup` has started, stays so.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)


def _stop(number: int, _frame: object) -> None:
    from artifactstore.cli.output import discard

    # Cleaning up must not wait for somebody who does not read what we have written.
    discard(sys.stdout)
    raise SystemExit(128 + number)


def _version() -> int:
    """What scripts ask most often, without the cost of importing typer."""
    from artifactstore.cli.failures import guarded
    from artifactstore.cli.output import Output
    from artifactstore.version import __version__

    output = Output(sys.stdout)

    def action() -> int:
        output.line(__version__)
        output.flush()
        return 0

    return guarded(action, output)
