"""The one exception tree of the package, grouped by what the caller does next.

::

    ArtifactStoreError
    ├── InvalidInputError            correct the argument
    │   └── SourceChangedError       push again when the producer is done
    ├── NotFoundError                ask for something else
    │   └── ObjectNotFoundError      the bytes are gone although the log names them
    ├── ConflictError                it exists already, with other content
    │   └── DuplicateRelativePathError
    ├── StateError                   the package or the store does not allow this now
    │   └── StoreNotFoundError       there is no store here; `init` makes one
    ├── IntegrityError               bytes are not what the log says
    ├── BackendError                 the object store failed; `retryable` says whether to try again
    ├── BusyError                    another writer holds the store; try again
    ├── AccessError                  permission is missing
    └── SettingsError                correct the configuration

Every error has a stable `code` in kebab-case for programs, a message for people that names the value
which was wrong, and often a `hint` that says what to do.
"""

from __future__ import annotations

TYPE_CHECKING = False  # not from `typing`: `artifactstore version` would import it for this alone
if TYPE_CHECKING:
    from typing import ClassVar, Self


class ArtifactStoreError(Exception):
    """Base of all errors that this package raises on purpose.

    Args:
        message: what was wrong, with the value.
        hint: what the caller can do about it.
        code: a more precise stable code than the class's own.
    """

    default_code: ClassVar[str] = "failed"

    def __init__(self, message: str, *, hint: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code or self.default_code

    def about(self, subject: str) -> Self:
        """The same error that also says what could not be done or read."""
        import copy

        same = copy.copy(self)
        same.message = f"{subject}: {self.message}"
        same.args = (same.message,)
        return same


class InvalidInputError(ArtifactStoreError, ValueError):
    """An argument, a path, a name or a document breaks a rule. Nothing was changed."""

    default_code = "invalid-input"


class SourceChangedError(InvalidInputError):
    """A source file changed while it was read, so its bytes are nobody's evidence."""

    default_code = "source-changed"


class NotFoundError(ArtifactStoreError, LookupError):
    """No package, file, event or digest of that name is in the store."""

    default_code = "not-found"


class ObjectNotFoundError(NotFoundError, FileNotFoundError):
    """The log names an object, but its bytes are not in the backend."""

    default_code = "object-not-found"


class ConflictError(ArtifactStoreError):
    """Something of that name exists already, with other content."""

    default_code = "conflict"


class DuplicateRelativePathError(ConflictError, FileExistsError):
    """The package already has a file at this relative path."""

    default_code = "duplicate-relative-path"


class StateError(ArtifactStoreError):
    """The package or the store is in a state that does not allow the call."""

    default_code = "refused-by-state"


class StoreNotFoundError(StateError):
    """There is no store at this place."""

    default_code = "store-not-found"


class IntegrityError(ArtifactStoreError):
    """Bytes do not have the digest or the form that was recorded for them."""

    default_code = "integrity"


class BackendError(ArtifactStoreError):
    """The object store failed.

    Args:
        retryable: whether the same call can work later without anybody changing anything.
    """

    default_code = "backend-failed"

    def __init__(
        self, message: str, *, hint: str | None = None, code: str | None = None, retryable: bool = False
    ) -> None:
        super().__init__(message, hint=hint, code=code)
        self.retryable = retryable


class BusyError(ArtifactStoreError):
    """Another writer held the store for longer than the timeout. Nothing was changed; try again."""

    default_code = "busy"


class AccessError(ArtifactStoreError, PermissionError):
    """The operating system, or the store's own rules, refuse access."""

    default_code = "access-denied"


class SettingsError(ArtifactStoreError):
    """A setting is unknown, malformed or contradicts another one."""

    default_code = "settings"
