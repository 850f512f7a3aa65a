"""Tokens from a file: `file:/absolute/path` in the place of a token."""

from __future__ import annotations

import os
import re
import stat
import struct
from typing import TYPE_CHECKING

from artifactstore.errors import SettingsError
from artifactstore.local_files import read_whole
from artifactstore.paths import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_PREFIX = "file:"
_SIZE_MAX = 64 << 10  # bytes
# A list of who may use a file, acl(5): a version of 4 bytes, then of each its kind, what it may, and its id.
_ACL = "system.posix_acl_access"
_ACL_HEAD = 4
_ACL_ENTRY = struct.Struct("<HHI")
_USER, _GROUP_OF_FILE, _GROUP = 0x02, 0x04, 0x08


def expanded(texts: Iterable[str]) -> Iterator[str]:
    """The tokens, with those of a file in the place of its reference.

    Raises:
        SettingsError: a file cannot be used; names the file, never what is in it. Or a reference is none: it
            could be a secret behind the name `file`, and nothing of it is quoted.
    """
    for number, text in enumerate(texts, start=1):
        if not text.startswith(_PREFIX):
            yield text
        elif os.path.isabs(path := text.removeprefix(_PREFIX)):
            yield from _read(path)
        else:
            raise SettingsError(
                f"token {number} is not file:/absolute/path", hint="no token can have the name file"
            )


def _read(path: str) -> list[str]:
    shown = f"the file of tokens {printable(path)}"
    try:
        mode = os.stat(path).st_mode
        data = read_whole(path, limit=_SIZE_MAX)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no path"
        raise SettingsError(
            f"{shown} cannot be read: {reason}", hint="name a readable regular file"
        ) from None
    if mode & stat.S_IRWXO or (mode & stat.S_IRWXG and not _lists_us_alone(path)):
        raise SettingsError(f"{shown} can be read by others than its owner", hint="chmod 600 it")
    tokens = [token.strip() for token in re.split("[,\n]", data.decode("latin-1")) if token.strip()]
    if not tokens or not all(re.fullmatch(r"[\x21-\x7e]+", token) for token in tokens):
        raise SettingsError(f"{shown} holds no token, or one that no field can carry", hint="one a line")
    return tokens


def _lists_us_alone(path: str) -> bool:
    """Whether a file has a list of who may use it, and nobody is in it but its owner, root and this user.

    Where there is such a list, the bits of the group in the mode are the most that it allows to anybody, and
    say nothing of the group: a credential that systemd hands to a service with `User=` is a file of root with
    mode 0440, which the list lets that user read and no group.
    """
    try:
        listed = os.getxattr(path, _ACL)[_ACL_HEAD:]
    except OSError:
        return False  # no list, so the mode means what it says
    ours = {0, os.geteuid()}
    return not any(
        allowed and (kind in {_GROUP_OF_FILE, _GROUP} or (kind == _USER and user not in ours))
        for kind, allowed, user in _ACL_ENTRY.iter_unpack(listed)
    )
