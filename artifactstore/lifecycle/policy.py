"""The retention policy: the classes of the store's log, overridden by an operator's TOML file."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from artifactstore import codec, fields
from artifactstore.errors import InvalidInputError, SettingsError
from artifactstore.lifecycle.durations import DURATION_MAX
from artifactstore.local_files import read_whole
from artifactstore.paths import printable

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

_CLASS_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?")
_TABLE = "retention_classes"
_DURATION = "default_duration_seconds"
_NAME_RULE = "small letters, digits, hyphens"
_DURATION_RULE = f"a whole number of seconds, 1 to {DURATION_MAX} (1,000 years)"
_FILE_MAX = 1 << 20  # bytes


@dataclass(frozen=True, slots=True)
class RetentionPolicy:
    """How long packages of a class are kept.

    What it decides is written into the event of each package, so a later change moves nothing that exists.

    Args:
        overrides: class to seconds after finalize, None for ever; wins over the store's own classes and
            may name further ones.
    Raises:
        InvalidInputError: a name or a duration breaks a rule.
    """

    overrides: Mapping[str, int | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, seconds in self.overrides.items():
            if not _CLASS_NAME.fullmatch(fields.check_text(name, field="the name of a class")):
                raise InvalidInputError(f"{printable(name)} is no name of a class", hint=_NAME_RULE)
            if seconds is not None and not _is_duration(seconds):
                raise InvalidInputError(f"the duration of {name!r} is {_shown(seconds)}", hint=_DURATION_RULE)

    def duration(self, retention_class: str, known: Mapping[str, int | None]) -> int | None:
        """Seconds that a new package of a class is kept after finalize; None is for ever.

        Args:
            known: the classes of the store's log.
        Raises:
            InvalidInputError: neither the store nor the policy knows the class.
        """
        classes = {**known, **self.overrides}
        if retention_class not in classes:
            raise InvalidInputError(
                f"unknown retention class {retention_class[:80]!r}",
                hint=f"one of {', '.join(sorted(classes))}",
                code="unknown-retention-class",
            )
        return classes[retention_class]


def read_policy(path: str | os.PathLike[str]) -> RetentionPolicy:
    """Read `ARTIFACTSTORE_RETENTION_CONFIG_PATH`.

    Raises:
        SettingsError: the file is missing, no TOML, or says something unknown or absurd; with file and line.
    Source: the operator guide, "Retention policy TOML".
    """
    import tomllib

    try:
        data = read_whole(path, limit=_FILE_MAX)
        document = tomllib.loads(data.decode())
    except OSError as error:
        raise SettingsError(f"cannot read the retention policy {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        # The message of tomllib ends with the line and the column.
        raise SettingsError(f"the retention policy {path} is not TOML: {_shown(error)}") from error
    lines = data.decode().splitlines()
    for name in document:
        if name != _TABLE:
            raise _refused(
                path, lines, (name,), f"unknown table {printable(name)}", f"only [{_TABLE}.<class>] is known"
            )
    classes = document.get(_TABLE, {})
    if not isinstance(classes, dict):
        raise _refused(path, lines, (_TABLE,), f"{_TABLE!r} is not a table", f"write [{_TABLE}.<class>]")
    return RetentionPolicy({name: _checked(path, lines, name, entry) for name, entry in classes.items()})


def _checked(path: str | os.PathLike[str], lines: list[str], name: str, entry: Any) -> int | None:
    if not _CLASS_NAME.fullmatch(name):
        raise _refused(path, lines, (name,), f"{printable(name)} is no name of a class", _NAME_RULE)
    if not isinstance(entry, dict):
        raise _refused(path, lines, (name,), f"{name!r} is not a table", f"write [{_TABLE}.{name}]")
    for key in entry:
        if key != _DURATION:
            message = f"unknown key {printable(key)} of {name!r}"
            raise _refused(path, lines, (name, key), message, f"only {_DURATION} is known")
    seconds = entry.get(_DURATION)
    if seconds is None:
        return None
    if not _is_duration(seconds):
        message = f"{_DURATION} of {name!r} is {_shown(seconds)}"
        raise _refused(path, lines, (name, _DURATION), message, _DURATION_RULE)
    return int(seconds)


def _is_duration(seconds: object) -> bool:
    return isinstance(seconds, int) and not isinstance(seconds, bool) and 0 < seconds <= DURATION_MAX


def _shown(value: object) -> str:
    """What stands in the file, or what is wrong with it, on one line of bounded length."""
    if isinstance(value, int):
        return codec.integer_text(value)
    text = str(value) if isinstance(value, Exception) else repr(value)
    return text if len(text) <= 200 and text.isprintable() else printable(text)


def _refused(
    path: str | os.PathLike[str], lines: list[str], words: tuple[str, ...], message: str, hint: str
) -> SettingsError:
    """An error with the line where the last of the words stands, each looked for from the one before on."""
    found = 0
    for word in words:
        # Whole keys outside comments: `raw` stands in `raw-evidence` too.
        key = re.compile(rf"^[^#]*(?<![\w-]){re.escape(word)}(?![\w-])")
        found = next((number for number in range(found, len(lines)) if key.search(lines[number])), found)
    return SettingsError(f"{path}:{found + 1}: {message}", hint=hint)
