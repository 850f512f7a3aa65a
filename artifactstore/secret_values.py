"""Reading a secret from where a reference says that it is, as late as possible and never into a message."""

from __future__ import annotations

import logging
import os
import stat
from typing import TYPE_CHECKING

from artifactstore.errors import SettingsError
from artifactstore.paths import printable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from artifactstore.setting_values import SecretRef

_log = logging.getLogger(__name__)

_SIZE_MAX = 64 << 10  # bytes; a larger file is no key
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def read_secret(ref: SecretRef, variables: Mapping[str, str]) -> str:
    """The secret that a reference names.

    Args:
        variables: where `env:` looks.
    Raises:
        SettingsError: it is not there, is no regular file, or is nothing that can be a key.
    """
    text = _from_file(ref.name) if ref.kind == "file" else variables.get(ref.name)
    if text is None:
        raise SettingsError(f"{ref}: no such variable is set", hint="set it, or correct the reference")
    secret = text.strip()
    if not secret or not secret.isprintable() or not secret.isascii():
        raise SettingsError(f"{printable(str(ref))}: there is no key in it", hint="one key, on one line")
    return secret


def _from_file(path: str) -> str:
    shown = printable(path)
    try:
        # A FIFO without a writer must not hold us; links are usual for mounted secrets.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        reason = error.strerror
        raise SettingsError(f"cannot read the secret in {shown}: {reason}", hint="mount it") from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise SettingsError(f"the secret in {shown} is no regular file", hint="name the file itself")
        if status.st_size > _SIZE_MAX:
            raise SettingsError(
                f"the secret in {shown} has {status.st_size} bytes", hint=f"at most {_SIZE_MAX} bytes"
            )
        if status.st_mode & _OTHERS:
            _log.warning("the secret in %s can be read by others than its owner; chmod 600", shown)
        data = os.read(descriptor, _SIZE_MAX)
    finally:
        os.close(descriptor)
    return data.decode("utf-8", "replace")
