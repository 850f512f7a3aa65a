"""The command line: the only part of the package that prints.

`main` is light; the commands, and typer with them, are imported when one runs.
"""

from __future__ import annotations

import signal
import sys


def main() -> int:
    """Run the command that the arguments of the process name.

    Returns:
        The exit code, see `artifactstore.cli.exit_codes`.
    """
    arguments = sys.argv[1:]
    if arguments in (["version"], ["--version"]):
        return _version()
    from artifactstore.cli.application import run

    # An orderly end, so that a push or an export that is told to stop cleans up after itself.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)
    return run(arguments)


def _stop(number: int, _frame: object) -> None:
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
