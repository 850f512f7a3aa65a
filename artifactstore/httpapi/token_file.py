"""Tokens from a file: `file:/absolute/path` in the place of a token."""

from __future__ import annotations

import os
import re
import stat
from typing import TYPE_CHECKING

from artifactstore.errors import SettingsError
from artifactstore.local_files import read_whole
from artifactstore.paths import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_PREFIX = "file:"
_SIZE_MAX = 64 << 10  # bytes


def expanded(texts: Iterable[str]) -> Iterator[str]:
    """The tokens, with those of a file in the place of its reference.

    Raises:
        SettingsError: a file cannot be used; names the file, never what is in it.
    """
    for text in texts:
        if text.startswith(_PREFIX):
            yield from _read(text.removeprefix(_PREFIX))
        else:
            yield text


def _read(path: str) -> list[str]:
    shown = f"the file of tokens {printable(path)}"
    if not os.path.isabs(path):
        raise SettingsError(f"{shown} has a relative path", hint="write file:/absolute/path")
    try:
        mode = os.stat(path).st_mode
        data = read_whole(path, limit=_SIZE_MAX)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no path"
        raise SettingsError(
            f"{shown} cannot be read: {reason}", hint="name a readable regular file"
        ) from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise SettingsError(f"{shown} can be read by others than its owner", hint="chmod 600 it")
    tokens = [token.strip() for token in re.split("[,\n]", data.decode("latin-1")) if token.strip()]
    if not tokens or not all(re.fullmatch(r"[\x21-\x7e]+", token) for token in tokens):
        raise SettingsError(f"{shown} holds no token, or one that no field can carry", hint="one a line")
    return tokens
