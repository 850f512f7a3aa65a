"""How a failure is reported: `error:`, `cause:` and `hint:` on stderr, and the exit code."""

from __future__ import annotations

from artifactstore.cli import exit_codes
from artifactstore.cli.output import say
from artifactstore.errors import ArtifactStoreError

TYPE_CHECKING = False  # not from `typing`: `artifactstore version` would import it for this alone
if TYPE_CHECKING:
    from collections.abc import Callable

    from artifactstore.cli.output import Output

_TRACEBACKS = 2  # times `-v` for tracebacks


def guarded(
    action: Callable[[], int],
    output: Output,
    *,
    json: bool = False,
    verbosity: Callable[[], int] = lambda: 0,
) -> int:
    """Do something and turn whatever it raises into a report and an exit code.

    Args:
        json: report as a JSON object with `code`, `message` and `hint`.
        verbosity: how often `-v` was given; asked only after a failure.
    """
    try:
        return action()
    except KeyboardInterrupt:
        return exit_codes.INTERRUPTED
    except Exception as error:  # noqa: BLE001 - whatever it is, the user gets a report and no traceback
        from contextlib import suppress

        with suppress(ArtifactStoreError, SystemExit):
            output.flush()
        if verbosity() >= _TRACEBACKS:
            _say_traceback(error)
        return _report(error, json=json)


def _report(error: Exception, *, json: bool) -> int:
    """Say what went wrong and choose the exit code."""
    code = exit_codes.FAILED
    if isinstance(error, ArtifactStoreError):
        code = exit_codes.exit_code(error)
        name, message, hint = error.code, error.message, error.hint
    elif isinstance(error, OSError):
        name, message, hint = "os-error", f"the operating system refused: {error}", None
    else:
        name, message = "internal", f"internal error: {type(error).__name__}: {error}"
        hint = "this is a bug; run again with -vv and report the traceback"
    if json:
        from json import dumps

        say(dumps({"code": name, "message": message, "hint": hint}))
        return code
    for label, text in (("error", message), ("cause", _cause(error)), ("hint", hint)):
        if text is not None:
            say(f"{label}: {text}")
    return code


def _cause(error: Exception) -> str | None:
    """What lay beneath, unless it is one of ours, whose message the error already has."""
    cause = error.__cause__
    if cause is None or isinstance(cause, ArtifactStoreError):
        return None
    return f"{type(cause).__name__}: {cause}"


def _say_traceback(error: Exception) -> None:
    import traceback

    for line in "".join(traceback.format_exception(error)).splitlines():
        say(line)
