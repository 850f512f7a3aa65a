"""The rules for a file's relative path in its package; the same at every door, in and out.

What comes in for the first time keeps one rule more, so that what was stored before it can still be read.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

from artifactstore.errors import InvalidInputError
from artifactstore.hidden_text import hidden_character

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_PATH_BYTES = 4096
MAX_SEGMENT_BYTES = 255
# Control characters, line separators, and the marks that reorder text so that a name reads as another one.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
# The same, and what is invisible though `repr` takes it for a letter or a mark.
_ESCAPED = re.compile(f"{_CONTROL.pattern}|[\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0]")
_PLAIN = re.compile(r"(?:[A-Za-z0-9_\-][A-Za-z0-9_.\-]{0,99}/){0,20}[A-Za-z0-9_\-][A-Za-z0-9_.\-]{0,99}")


def check_relative_path(path: str) -> str:
    """Return the path if it keeps every rule.

    POSIX separators; no empty, `.` or `..` segment; no leading or trailing slash; no NUL, control or
    text-reordering character; valid Unicode; at most 4,096 bytes and 255 bytes a segment.

    Raises:
        InvalidInputError: names the rule and the path.
    """
    return _checked(path, broken_rule)


def check_new_path(path: str) -> str:
    """Return the path of a file that is to be stored, if it also holds no character that is not seen.

    Raises:
        as `check_relative_path`.
    """
    return _checked(path, broken_new_rule)


def _checked(path: str, broken: Callable[[str], str | None]) -> str:
    if not isinstance(path, str):
        raise InvalidInputError(f"a relative path must be text, not {type(path).__name__}")
    rule = broken(path)
    if rule is not None:
        message = f"unsafe relative path {printable(path)}: {rule}"
        raise InvalidInputError(message, code="invalid-relative-path")
    return path


def broken_new_rule(path: str) -> str | None:
    """The rule that a path to be stored breaks, in words, or None if it breaks none."""
    rule = broken_rule(path)
    hidden = hidden_character(path) if rule is None else None
    return rule if hidden is None else f"it holds the invisible or reordering character {hidden}"


def broken_rule(path: str) -> str | None:
    """The rule that a path breaks, in words, or None if it breaks none."""
    if _PLAIN.fullmatch(path):  # nearly all real names; the full check costs ten times as much
        return None
    try:
        encoded = path.encode("utf-8")
    except UnicodeEncodeError:
        return "it is not valid UTF-8"
    segments = encoded.split(b"/")
    control = _CONTROL.search(path)
    if not path:
        return "it is empty"
    if path.startswith("/"):
        return "it starts with a slash"
    if control is not None:
        return f"it holds the control character U+{ord(control.group()):04X}"
    if b"" in segments:
        return "it has an empty segment"
    if b"." in segments or b".." in segments:
        return "it has a '.' or '..' segment"
    if len(encoded) > MAX_PATH_BYTES:
        return f"it is {len(encoded)} bytes long; {MAX_PATH_BYTES} are allowed"
    if any(len(segment) > MAX_SEGMENT_BYTES for segment in segments):
        return f"it has a segment of more than {MAX_SEGMENT_BYTES} bytes"
    return None


def printable(path: str) -> str:
    """The path in quotes, with everything escaped that a terminal or a log would act upon."""
    shown = path if len(path) <= 200 else f"{path[:120]}...{path[-60:]}"
    return repr(_ESCAPED.sub(lambda match: f"\\u{ord(match.group()):04x}", shown)).replace("\\\\u", "\\u")


def parents(path: str) -> list[str]:
    """The folders above a path, nearest first: `a/b/c` gives `a/b`, `a`."""
    found = []
    while (cut := path.rfind("/")) > 0:
        path = path[:cut]
        found.append(path)
    return found


def collision_key(path: str) -> str:
    """Two paths with the same key are one file on a file system that folds case or normalises Unicode."""
    if path.isascii():
        return path.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())
