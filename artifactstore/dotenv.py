"""A strict reader of `.env` files: `NAME=value` lines, quotes, comments, and nothing else.

::

    # a comment
    NAME=text up to a comment that follows a blank   # like this one
    export NAME='taken as it stands'
    NAME="with the escapes \\n \\t \\" and \\\\"

There is no `${NAME}` expansion and no value that spans lines, so that nothing inside a value can become
an assignment. Errors name the file and the line, never the value, which may be a secret.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from artifactstore.errors import SettingsError
from artifactstore.local_files import read_whole

if TYPE_CHECKING:
    from pathlib import Path

MAX_FILE_SIZE = 64 * 1024  # bytes

_HEAD = re.compile(r"(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)[ \t]*=")
_TAIL = r"[ \t]*(?:(?<=[ \t])#.*)?"  # blanks, then perhaps a comment that a blank sets apart
_DOUBLE_QUOTED = re.compile(rf'"([^"\\]*(?:\\.[^"\\]*)*)"{_TAIL}')
_SINGLE_QUOTED = re.compile(rf"'([^']*)'{_TAIL}")
_COMMENT = re.compile(r"[ \t]#")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]")  # all but the tab
_ESCAPE = re.compile(r"\\(.)")
_ESCAPES = {"n": "\n", "t": "\t", '"': '"', "\\": "\\"}


@dataclass(frozen=True, slots=True)
class Assignment:
    """One value of a file and the line, counted from 1, on which it stands."""

    value: str
    line: int


def read_env_file(path: Path, prefixes: tuple[str, ...]) -> dict[str, Assignment]:
    """Read a file and parse it.

    Args:
        path: a regular file of at most 64 KiB, in UTF-8 with or without a byte order mark.
        prefixes: as for `parse_env`.
    Returns:
        As `parse_env`.
    Raises:
        SettingsError: there is no such file, it cannot be read, or `parse_env` refuses it.
    """
    try:
        data = read_whole(path, limit=MAX_FILE_SIZE)
    except OSError as error:
        raise SettingsError(f"cannot read {path}: {error.strerror}", hint="name a settings file") from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        # The decoder's error holds the whole file, secrets and all: it is not passed on.
        raise SettingsError(f"{path} line {line}: not valid UTF-8") from None
    return parse_env(text, str(path), prefixes)


def parse_env(text: str, source: str, prefixes: tuple[str, ...]) -> dict[str, Assignment]:
    """Parse the text of a file.

    Every line must have the form of an assignment. Names without one of the prefixes belong to other
    programs: their values are neither kept nor judged, except that their quotes must close on the line.

    Args:
        source: what to call the file in an error.
        prefixes: beginnings of the names to take.
    Returns:
        The values by name; of several with one name the last, as in a shell.
    Raises:
        SettingsError: a line is malformed.
    """
    assignments: dict[str, Assignment] = {}
    # Not splitlines(): it also breaks at characters that are part of a value.
    for number, line in enumerate(text.split("\n"), start=1):
        stripped = line.removesuffix("\r").strip(" \t")
        if not stripped or stripped.startswith("#"):
            continue
        try:
            name, value = _parse_line(stripped, prefixes)
        except ValueError as error:
            raise SettingsError(
                f"{source} line {number}: {error}", hint="write NAME=value, NAME='value' or NAME=\"value\""
            ) from None
        if name.startswith(prefixes):
            assignments[name] = Assignment(value, number)
    return assignments


def _parse_line(line: str, prefixes: tuple[str, ...]) -> tuple[str, str]:
    if _CONTROL.search(line):
        raise ValueError("a control character")
    head = _HEAD.match(line)
    if head is None:
        raise ValueError("not an assignment")
    name = head[1]
    rest = line[head.end() :]
    quoted = rest.lstrip(" \t")
    if quoted.startswith(("'", '"')):
        double = quoted.startswith('"')
        match = (_DOUBLE_QUOTED if double else _SINGLE_QUOTED).fullmatch(quoted)
        if match is None:
            raise ValueError("the closing quote is missing, or text follows it")
        value = match[1]
        return name, _unescape(value) if double and name.startswith(prefixes) else value
    comment = _COMMENT.search(rest)
    return name, rest[: comment.start() if comment else None].strip(" \t")


def _unescape(text: str) -> str:
    unknown = next((match[1] for match in _ESCAPE.finditer(text) if match[1] not in _ESCAPES), None)
    if unknown is not None:
        raise ValueError('an unknown escape between double quotes; known are \\n \\t \\" \\\\')
    return _ESCAPE.sub(lambda match: _ESCAPES[match[1]], text)
