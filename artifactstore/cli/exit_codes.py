"""What the exit code of a command says; the only table of it.

A command that a signal N ended exits with 128 + N.
"""

from __future__ import annotations

from artifactstore import errors

OK = 0
FAILED = 1
USAGE = 2  # also settings and invalid input
FINDINGS = 3  # done, and something is damaged
NOT_FOUND = 4
REFUSED = 5  # by state or conflict
ACCESS = 6
BACKEND = 7
BUSY = 8
NO_STORE = 10
INTERRUPTED = 130
READER_GONE = 141  # whoever read our output has closed it

BY_ERROR: dict[type[errors.ArtifactStoreError], int] = {
    errors.ArtifactStoreError: FAILED,
    errors.InvalidInputError: USAGE,
    errors.SourceChangedError: USAGE,
    errors.NotFoundError: NOT_FOUND,
    errors.ObjectNotFoundError: FINDINGS,  # the log names it: not a wrong question but lost evidence
    errors.ConflictError: REFUSED,
    errors.DuplicateRelativePathError: REFUSED,
    errors.StateError: REFUSED,
    errors.StoreNotFoundError: NO_STORE,
    errors.IntegrityError: FINDINGS,
    errors.BackendError: BACKEND,
    errors.BusyError: BUSY,
    errors.AccessError: ACCESS,
    errors.SettingsError: USAGE,
}

MEANINGS = {
    OK: "ok",
    FAILED: "failed",
    USAGE: "wrong usage, settings or input",
    FINDINGS: "done, and damage was found",
    NOT_FOUND: "not found",
    REFUSED: "refused by state or conflict",
    ACCESS: "no permission",
    BACKEND: "object store failed",
    BUSY: "busy, try again",
    NO_STORE: "no store here",
    INTERRUPTED: "interrupted",
}


def exit_code(error: errors.ArtifactStoreError) -> int:
    """The exit code for an error: that of its class or of the nearest one above it."""
    return next(BY_ERROR[kind] for kind in type(error).__mro__ if kind in BY_ERROR)
