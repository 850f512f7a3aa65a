"""Files that a schema demands of a package: `x-required-files`, globs with media types."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from artifactstore.errors import InvalidInputError, StateError
from artifactstore.media_types import check_media_type
from artifactstore.paths import printable
from artifactstore.scan import compile_globs

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

REQUIRED_FILES = "x-required-files"
_ENTRIES_MAX = 100
_KEYS = {"path", "media_type", "minimum", "description"}


@dataclass(frozen=True, slots=True)
class RequiredFile:
    """One demand.

    Args:
        path: a glob, as `push --include` takes it.
        media_type: of the files, a `*` stands for any text; None for any type.
        minimum: how many such files there must be.
    """

    path: str
    media_type: str | None
    minimum: int

    def __str__(self) -> str:
        count = "a file" if self.minimum == 1 else f"{self.minimum} files"
        kind = "" if self.media_type is None else f" of type {self.media_type}"
        return f"{count} {printable(self.path)}{kind}"


def required_files(schema: Mapping[str, Any]) -> tuple[RequiredFile, ...]:
    """The demands of a schema that was accepted."""
    return tuple(
        RequiredFile(entry["path"], entry.get("media_type"), entry.get("minimum", 1))
        for entry in schema.get(REQUIRED_FILES, ())
    )


def check_required_files(schema: Mapping[str, Any]) -> None:
    """Check the demands of a new schema.

    Raises:
        InvalidInputError: they are not a list of objects with a glob, perhaps a media type and a number.
    """
    entries = schema.get(REQUIRED_FILES, [])
    if not isinstance(entries, list) or len(entries) > _ENTRIES_MAX:
        raise _refused("it must be a list", f"with at most {_ENTRIES_MAX} entries")
    for number, entry in enumerate(entries):
        place = f"/{REQUIRED_FILES}/{number}"
        if not isinstance(entry, dict) or not isinstance(entry.get("path"), str):
            raise _refused(
                f"{place} is not an object with a glob as its path", 'write {"path": "report/*.html"}'
            )
        if surplus := set(entry) - _KEYS:
            raise _refused(
                f"{place} has the unknown key {min(surplus)!r}", f"known: {', '.join(sorted(_KEYS))}"
            )
        minimum = entry.get("minimum", 1)
        if not isinstance(minimum, int) or isinstance(minimum, bool) or minimum < 1:
            raise _refused(f"{place}/minimum is {minimum!r}, not a positive integer", "leave it out for 1")
        try:
            compile_globs((entry["path"],))
            if "media_type" in entry:
                check_media_type(str(entry["media_type"]).replace("*", "x"))
        except InvalidInputError as error:
            raise _refused(f"{place}: {error.message}", "see docs/reference/metadata-schemas.md") from None


def require_files(schema: Mapping[str, Any], files: Iterable[tuple[str, str]], slug: str) -> None:
    """Refuse a package that lacks what its schema demands.

    Args:
        files: relative path and media type of each file.
    Raises:
        StateError: names what is missing.
    """
    wanted = required_files(schema)
    if not wanted:
        return
    patterns = [compile_globs((each.path,)) for each in wanted]
    found = [0] * len(wanted)
    for path, media_type in files:
        for number, (each, pattern) in enumerate(zip(wanted, patterns, strict=True)):
            if (
                pattern is not None
                and pattern.fullmatch(path)
                and (each.media_type is None or fnmatchcase(media_type, each.media_type))
            ):
                found[number] += 1
    missing = [
        f"{each} ({count} there)" for each, count in zip(wanted, found, strict=True) if count < each.minimum
    ]
    if missing:
        raise StateError(
            f"the schema {slug} demands files that the package lacks: {', '.join(missing)}",
            hint="add them; a package without its report is not finalized",
            code="required-files-missing",
        )


def _refused(rule: str, hint: str) -> InvalidInputError:
    return InvalidInputError(f"the schema is refused: {rule}", hint=hint, code="schema-refused")
